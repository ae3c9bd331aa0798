// SPDX-License-Identifier: Apache-2.0
// The quantizing loops compiled for AVX-512.
#include "kernels/quantize/quantize-inl.h"

namespace octavo {

constinit const QuantizeOps kQuantizeAvx512 = kOps;

}  // namespace octavo
