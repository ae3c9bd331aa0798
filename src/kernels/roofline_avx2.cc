// SPDX-License-Identifier: Apache-2.0
// Peak loops with 256-bit vectors.
#include <immintrin.h>

#include "kernels/roofline_loops.h"

namespace octavo {
namespace {

constexpr int kChains = 12;

}  // namespace

double PeakF32_avx2(int64_t iterations) {
  __m256 acc[kChains], x = _mm256_set1_ps(1.0f);
  // Unrolled, or the array lives in memory.
#pragma GCC unroll 20
  for (int j = 0; j < kChains; ++j) acc[j] = _mm256_setzero_ps();
  asm volatile("" : "+x"(x));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      acc[j] = _mm256_fmadd_ps(x, x, acc[j]);
      asm volatile("" : "+x"(acc[j]));
    }
  }
  return static_cast<double>(iterations) * kChains * 16;
}

double PeakInt8_avx2(int64_t iterations) {
  __m256i acc[kChains], x = _mm256_set1_epi16(1);
  // Unrolled, or the array lives in memory.
#pragma GCC unroll 20
  for (int j = 0; j < kChains; ++j) acc[j] = _mm256_setzero_si256();
  asm volatile("" : "+x"(x));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      __m256i product = _mm256_madd_epi16(x, x);
      asm volatile("" : "+x"(product));
      acc[j] = _mm256_add_epi32(acc[j], product);
      asm volatile("" : "+x"(acc[j]));
    }
  }
  return static_cast<double>(iterations) * kChains * 32;
}

void ReadMemory_avx2(const void* memory, size_t bytes) {
  const auto* p = static_cast<const __m256i*>(memory);
  __m256i sum = _mm256_setzero_si256();
  for (size_t i = 0; i + 8 <= bytes / 32; i += 8) {
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; ++j) sum = _mm256_or_si256(sum, _mm256_load_si256(p + i + j));
  }
  asm volatile("" ::"x"(sum));
}

}  // namespace octavo
