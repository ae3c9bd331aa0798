// SPDX-License-Identifier: Apache-2.0
// The element-wise operations with AVX2.
#include "kernels/simd/f32x16_avx2.h"

#include "kernels/elementwise/elementwise-inl.h"
#include "kernels/elementwise/elementwise_levels.h"

namespace octavo {

constinit const ElementwiseOps kElementwiseAvx2 = MakeElementwiseOps<F32x16>();

}  // namespace octavo
