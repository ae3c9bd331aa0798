// SPDX-License-Identifier: Apache-2.0
// W4A16: int4 weights in groups, 16-bit activations.
#include "schemes/weight_only_int.h"

namespace octavo {

extern const Scheme kScheme_w4a16;
constinit const Scheme kScheme_w4a16 = WeightOnlyInt<4>(
    "W4A16", "w4a16", "int4 weights in groups of 128, 16-bit activations");

}  // namespace octavo
