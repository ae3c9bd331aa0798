// SPDX-License-Identifier: Apache-2.0
// Peak loop of vdpbf16ps.
#include <immintrin.h>

#include "kernels/roofline_loops.h"

namespace octavo {

double PeakBf16_avx512_bf16(int64_t iterations) {
  constexpr int kChains = 20;  // eight cycles of latency
  __m512 acc[kChains];
  __m512i x = _mm512_set1_epi32(0x3f803f80);
  // Unrolled, or the array lives in memory.
#pragma GCC unroll 20
  for (int j = 0; j < kChains; ++j) acc[j] = _mm512_setzero_ps();
  asm volatile("" : "+v"(x));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 20
    for (int j = 0; j < kChains; ++j) {
      acc[j] = _mm512_dpbf16_ps(acc[j], (__m512bh)x, (__m512bh)x);
      asm volatile("" : "+v"(acc[j]));
    }
  }
  return static_cast<double>(iterations) * kChains * 64;
}

}  // namespace octavo
