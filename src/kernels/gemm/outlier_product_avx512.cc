// SPDX-License-Identifier: Apache-2.0
// The outlier product with 512-bit vectors.
#include "kernels/simd/f32x16_avx512.h"
//
#include "kernels/gemm/outlier_product-inl.h"

namespace octavo {

extern const OutlierOps kOutlierOps_avx512;
const OutlierOps kOutlierOps_avx512 = {Accumulate, Add};

}  // namespace octavo
