// SPDX-License-Identifier: Apache-2.0
// W8A16: int8 weights in groups, 16-bit activations.
#include "schemes/weight_only_int.h"

namespace octavo {

extern const Scheme kScheme_w8a16;
constinit const Scheme kScheme_w8a16 = WeightOnlyInt<8>(
    "W8A16", "w8a16", "int8 weights in groups of 128, 16-bit activations");

}  // namespace octavo
