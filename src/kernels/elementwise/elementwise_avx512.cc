// SPDX-License-Identifier: Apache-2.0
// The element-wise operations with AVX-512.
#include "kernels/simd/f32x16_avx512.h"

#include "kernels/elementwise/elementwise-inl.h"
#include "kernels/elementwise/elementwise_levels.h"

namespace octavo {

constinit const ElementwiseOps kElementwiseAvx512 = MakeElementwiseOps<F32x16>();

}  // namespace octavo
