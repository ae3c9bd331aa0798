// SPDX-License-Identifier: Apache-2.0
// The element-wise operations in portable C++: it defines the bits that the other levels must give.
#include "kernels/simd/f32x16_reference.h"

#include "kernels/elementwise/elementwise-inl.h"
#include "kernels/elementwise/elementwise_levels.h"

namespace octavo {

constinit const ElementwiseOps kElementwiseReference = MakeElementwiseOps<F32x16>();

}  // namespace octavo
