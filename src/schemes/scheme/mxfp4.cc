// SPDX-License-Identifier: Apache-2.0
// MXFP4: 4-bit floats in groups of 32 with power-of-two scales, expanded to bf16.
#include "schemes/fp4_form.h"

namespace octavo {

extern const Scheme kScheme_mxfp4;
constinit const Scheme kScheme_mxfp4 =
    Fp4Scheme<32>("MXFP4", "4-bit floats in groups of 32 with power-of-two scales, expanded to bf16");

}  // namespace octavo
