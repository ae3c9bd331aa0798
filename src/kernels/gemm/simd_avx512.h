// SPDX-License-Identifier: Apache-2.0
// What the 512-bit GEMM kernels share: transposes for packing, the epilogue, the flush mode.
//
// Everything is in an anonymous namespace: kernel files must not leave inline functions compiled for
// their ISA where the linker could pick them for other code.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace octavo {
namespace {

inline constexpr int kLanes = 16;  // channels per vector
using Floats = __m512;

inline int64_t DivUp(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return DivUp(a, b) * b; }

// Flushes denormals while alive, as vdpbf16ps always does.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
};

// One load or store, kept in order: stops GCC 12 from moving an accumulator to the stack inside the K
// loop for the benefit of the epilogue.
template <typename T>
[[gnu::always_inline]] inline void KeepInRegister(T& v) {
  asm volatile("" : "+v"(v));
}

// kLanes numbers of a type as f32.
[[gnu::always_inline]] inline Floats LoadFloats(const std::byte* p) { return _mm512_loadu_ps(p); }
[[gnu::always_inline]] inline Floats LoadHalves(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
[[gnu::always_inline]] inline Floats LoadBf16s(const std::byte* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
[[gnu::always_inline]] inline Floats LoadInt8s(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

inline __mmask16 LaneMask(int64_t count) {
  return count >= kLanes ? __mmask16(0xffff) : static_cast<__mmask16>((1u << count) - 1u);
}

// Scales and stores one vector of results: channels n.. of row `row`. `channel_scales` holds 1 where
// the format has none (an exact factor); `token_scale` may be null.
[[gnu::always_inline]] inline void StoreOutput(const GemmCall& call, int64_t row, int64_t n, __m512 v,
                                               const float* token_scale, const float* channel_scales) {
  const int64_t left = call.weight->n - n;
  if (left <= 0) return;
  const __mmask16 mask = LaneMask(left);
  if (token_scale != nullptr) v = _mm512_mul_ps(v, _mm512_set1_ps(*token_scale));
  v = _mm512_mul_ps(v, _mm512_loadu_ps(channel_scales));
  if (call.y.bias != nullptr) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, call.y.bias + n));
  float* out = call.y.out + row * call.y.row_stride + n;
  if (call.y.accumulate) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), v);
  _mm512_mask_storeu_ps(out, mask, v);
}

// Transposes 16 x 16 dwords: out[j] holds dword j of every in[i].
[[gnu::always_inline]] inline void Transpose16(const __m512i in[16], __m512i out[16]) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(in[i], in[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(in[i], in[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88);
    a[i + 4] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd);
    a[i + 8] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88);
    a[i + 12] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    out[i] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0x88);
    out[i + 8] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0xdd);
  }
}

// Loads bytes [at, at + 64) of a row of `row_bytes` bytes; zeros beyond its end.
[[gnu::always_inline]] inline __m512i LoadRowBytes(const uint8_t* row, int64_t at, int64_t row_bytes) {
  const int64_t left = row_bytes - at;
  if (left >= 64) return _mm512_loadu_si512(row + at);
  if (left <= 0) return _mm512_setzero_si512();
  return _mm512_maskz_loadu_epi8((__mmask64{1} << left) - 1, row + at);
}

// Calls store(dword index, vector) for every dword of 16 rows of `row_bytes` bytes, in order: the
// vector holds that dword of each row.
template <typename Store>
[[gnu::always_inline]] inline void TransposeRows(const uint8_t* rows, int64_t row_bytes,
                                                 const Store& store) {
  for (int64_t at = 0; at < row_bytes; at += 64) {
    __m512i in[16], out[16];
    for (int i = 0; i < 16; ++i) in[i] = LoadRowBytes(rows + i * row_bytes, at, row_bytes);
    Transpose16(in, out);
    const int64_t count = row_bytes - at >= 64 ? 16 : DivUp(row_bytes - at, 4);
    for (int64_t j = 0; j < count; ++j) store(at / 4 + j, out[j]);
  }
}

// Byte k % 4 of each dword, signed, times a scale: one column of 16 channels out of a quad of columns.
[[gnu::always_inline]] inline __m512 ScaledByte(__m512i quad, int64_t k, __m512 scale) {
  const __m512i top = _mm512_sll_epi32(quad, _mm_cvtsi64_si128(24 - 8 * (k % 4)));
  return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24)), scale);
}

// Copies scales (or mins) of `channels` rows, [channels][groups], to [groups][channels]; ones when the
// format has no scales.
inline void PackScales(const float* from, size_t size, int64_t groups, int64_t channels, float* to) {
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t c = 0; c < channels; ++c) {
      to[g * channels + c] = size == 0 ? 1.0f : from[c * groups + g];
    }
  }
}

}  // namespace
}  // namespace octavo
