// SPDX-License-Identifier: Apache-2.0
// Peak loop of vpdpbusd.
#include <immintrin.h>

#include "kernels/roofline_loops.h"

namespace octavo {

double PeakInt8_avx512_vnni(int64_t iterations) {
  constexpr int kChains = 16;
  __m512i acc[kChains], x = _mm512_set1_epi8(1);
  // Unrolled, or the array lives in memory.
#pragma GCC unroll 20
  for (int j = 0; j < kChains; ++j) acc[j] = _mm512_setzero_si512();
  asm volatile("" : "+v"(x));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) {
      acc[j] = _mm512_dpbusd_epi32(acc[j], x, x);
      asm volatile("" : "+v"(acc[j]));
    }
  }
  return static_cast<double>(iterations) * kChains * 128;
}

}  // namespace octavo
