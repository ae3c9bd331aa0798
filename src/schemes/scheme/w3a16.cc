// SPDX-License-Identifier: Apache-2.0
// W3A16: int3 weights in groups, 16-bit activations.
#include "schemes/weight_only_int.h"

namespace octavo {

extern const Scheme kScheme_w3a16;
constinit const Scheme kScheme_w3a16 = WeightOnlyInt<3>(
    "W3A16", "w3a16", "int3 weights in groups of 128, 16-bit activations");

}  // namespace octavo
