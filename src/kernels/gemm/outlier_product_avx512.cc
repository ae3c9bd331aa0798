// SPDX-License-Identifier: Apache-2.0
// The outlier product with 512-bit vectors: sums of up to 64 channels stay in registers over all terms.
#include <immintrin.h>

#include "kernels/gemm/outlier_product.h"

namespace octavo {
namespace {

template <int kVectors>
[[gnu::always_inline]] inline void Chain(const float* columns, int64_t stride, const OutlierTerm* terms,
                                         int64_t count, float* sum) {
  __m512 acc[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[v] = _mm512_loadu_ps(sum + v * 16);
  for (int64_t i = 0; i < count; ++i) {
    const __m512 x = _mm512_castsi512_ps(_mm512_set1_epi32(terms[i].value << 16));
    const float* w = columns + terms[i].slot * stride;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[v] = _mm512_fmadd_ps(x, _mm512_loadu_ps(w + v * 16), acc[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(sum + v * 16, acc[v]);
}

void Accumulate(const float* columns, int channels, const OutlierTerm* terms, int64_t count, float* sum) {
  int c = 0;
  for (; c + 64 <= channels; c += 64) Chain<4>(columns + c, channels, terms, count, sum + c);
  for (; c + 32 <= channels; c += 32) Chain<2>(columns + c, channels, terms, count, sum + c);
  for (; c < channels; c += 16) Chain<1>(columns + c, channels, terms, count, sum + c);
}

void Add(const float* sum, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = count - i >= 16 ? __mmask16(0xffff) : static_cast<__mmask16>((1u << (count - i)) - 1u);
    const __m512 y = _mm512_maskz_loadu_ps(mask, out + i);
    _mm512_mask_storeu_ps(out + i, mask, _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, sum + i)));
  }
}

}  // namespace

extern const OutlierOps kOutlierOps_avx512;
const OutlierOps kOutlierOps_avx512 = {Accumulate, Add};

}  // namespace octavo
