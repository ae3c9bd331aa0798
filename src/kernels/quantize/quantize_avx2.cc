// SPDX-License-Identifier: Apache-2.0
// The quantizing loops compiled for AVX2.
#include "kernels/quantize/quantize-inl.h"

namespace octavo {

constinit const QuantizeOps kQuantizeAvx2 = kOps;

}  // namespace octavo
