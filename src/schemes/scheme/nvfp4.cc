// SPDX-License-Identifier: Apache-2.0
// NVFP4: 4-bit floats in groups of 16 with FP8 scales, expanded to bf16.
#include "schemes/fp4_form.h"

namespace octavo {

extern const Scheme kScheme_nvfp4;
constinit const Scheme kScheme_nvfp4 =
    Fp4Scheme<16>("NVFP4", "4-bit floats in groups of 16 with FP8 scales, expanded to bf16");

}  // namespace octavo
