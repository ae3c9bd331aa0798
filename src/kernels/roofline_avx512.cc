// SPDX-License-Identifier: Apache-2.0
// Peak loops with 512-bit vectors.
#include <immintrin.h>

#include "kernels/roofline_loops.h"

namespace octavo {

double PeakF32_avx512(int64_t iterations) {
  constexpr int kChains = 16;
  __m512 acc[kChains], x = _mm512_set1_ps(1.0f);
  // Unrolled, or the array lives in memory.
#pragma GCC unroll 20
  for (int j = 0; j < kChains; ++j) acc[j] = _mm512_setzero_ps();
  asm volatile("" : "+v"(x));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) {
      acc[j] = _mm512_fmadd_ps(x, x, acc[j]);
      asm volatile("" : "+v"(acc[j]));
    }
  }
  return static_cast<double>(iterations) * kChains * 32;
}

void ReadMemory_avx512(const void* memory, size_t bytes) {
  const auto* p = static_cast<const std::byte*>(memory);
  __m512i sum = _mm512_setzero_si512();
  for (size_t i = 0; i + 256 <= bytes; i += 256) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 256; j += 64) sum = _mm512_or_si512(sum, _mm512_load_si512(p + i + j));
  }
  asm volatile("" ::"v"(sum));
}

}  // namespace octavo
