// SPDX-License-Identifier: Apache-2.0
// What the 256-bit GEMM kernels share: the epilogue, the flush mode, packing. All in an anonymous
// namespace, as simd_avx512.h explains.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace octavo {
namespace {

inline constexpr int kLanes = 8;  // channels per vector
using Floats = __m256;

inline int64_t DivUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return DivUp(a, b) * b; }

// Flushes denormals while alive: f32 FMAs then do what vdpbf16ps does.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
};

template <typename T>
[[gnu::always_inline]] inline void KeepInRegister(T& v) {
  asm volatile("" : "+x"(v));
}

// kLanes numbers of a type as f32.
[[gnu::always_inline]] inline Floats LoadFloats(const std::byte* p) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
}
[[gnu::always_inline]] inline Floats LoadHalves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
[[gnu::always_inline]] inline Floats LoadBf16s(const std::byte* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
[[gnu::always_inline]] inline Floats LoadInt8s(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

// As in simd_avx512.h, eight channels at a time.
[[gnu::always_inline]] inline void StoreOutput(const GemmCall& call, int64_t row, int64_t n, __m256 v,
                                               const float* token_scale, const float* channel_scales) {
  const int64_t left = call.weight->n - n;
  if (left <= 0) return;
  if (token_scale != nullptr) v = _mm256_mul_ps(v, _mm256_set1_ps(*token_scale));
  v = _mm256_mul_ps(v, _mm256_loadu_ps(channel_scales));
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask =
      _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left < 8 ? left : 8)), lane);
  if (call.y.bias != nullptr) v = _mm256_add_ps(v, _mm256_maskload_ps(call.y.bias + n, mask));
  float* out = call.y.out + row * call.y.row_stride + n;
  if (call.y.accumulate) v = _mm256_add_ps(_mm256_maskload_ps(out, mask), v);
  _mm256_maskstore_ps(out, mask, v);
}

// Copies scales (or mins), [channels][groups], to [groups][channels]; ones when there are none.
inline void PackScales(const float* from, size_t size, int64_t groups, int64_t channels, float* to) {
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t c = 0; c < channels; ++c) to[g * channels + c] = size == 0 ? 1.0f : from[c * groups + g];
  }
}

// Places dwords of `channels` rows of `row_bytes` bytes (zero beyond their end) as [steps][channels].
inline void PackDwords(const uint8_t* rows, int64_t row_bytes, int64_t channels, int64_t steps,
                       std::byte* to) {
  auto* out = reinterpret_cast<uint32_t*>(to);
  for (int64_t s = 0; s < steps; ++s) {
    for (int64_t c = 0; c < channels; ++c) {
      uint32_t dword = 0;
      const uint8_t* row = rows + c * row_bytes;
      const int64_t left = row_bytes - s * 4;
      if (left >= 4) {
        __builtin_memcpy(&dword, row + s * 4, 4);
      } else {
        for (int64_t t = 0; t < left; ++t) dword |= uint32_t{row[s * 4 + t]} << (8 * t);
      }
      out[s * channels + c] = dword;
    }
  }
}

}  // namespace
}  // namespace octavo
