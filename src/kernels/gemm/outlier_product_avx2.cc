// SPDX-License-Identifier: Apache-2.0
// The outlier product with 256-bit vectors.
#include "kernels/simd/f32x16_avx2.h"
//
#include "kernels/gemm/outlier_product-inl.h"

namespace octavo {

extern const OutlierOps kOutlierOps_avx2;
const OutlierOps kOutlierOps_avx2 = {Accumulate, Add};

}  // namespace octavo
