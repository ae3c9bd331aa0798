// SPDX-License-Identifier: Apache-2.0
// The outlier product with 256-bit vectors: sums of 16 or 32 channels stay in registers over all terms.
#include <immintrin.h>

#include "kernels/gemm/outlier_product.h"

namespace octavo {
namespace {

template <int kVectors>
[[gnu::always_inline]] inline void Chain(const float* columns, int64_t stride, const OutlierTerm* terms,
                                         int64_t count, float* sum) {
  __m256 acc[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[v] = _mm256_loadu_ps(sum + v * 8);
  for (int64_t i = 0; i < count; ++i) {
    const __m256 x = _mm256_castsi256_ps(_mm256_set1_epi32(terms[i].value << 16));
    const float* w = columns + terms[i].slot * stride;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[v] = _mm256_fmadd_ps(x, _mm256_loadu_ps(w + v * 8), acc[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(sum + v * 8, acc[v]);
}

void Accumulate(const float* columns, int channels, const OutlierTerm* terms, int64_t count, float* sum) {
  int c = 0;
  for (; c + 32 <= channels; c += 32) Chain<4>(columns + c, channels, terms, count, sum + c);
  for (; c < channels; c += 16) Chain<2>(columns + c, channels, terms, count, sum + c);
}

void Add(const float* sum, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] += sum[i];
}

}  // namespace

extern const OutlierOps kOutlierOps_avx2;
const OutlierOps kOutlierOps_avx2 = {Accumulate, Add};

}  // namespace octavo
