// SPDX-License-Identifier: Apache-2.0
// Decoders from weight codes to pairs of bf16, 512 bits at a time, for kernels that feed vdpbf16ps or
// AMX tiles. Include after simd_avx512.h, at an ISA level with VBMI.
//
// One 64-byte block holds 16 channels x kBlockK columns; Decode() gives kPairs vectors, pair p holding
// columns (2p, 2p + 1) of every channel as dwords (even column in the low half). Pack() orders the codes
// so that this takes the fewest instructions.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/simd_avx512.h"

namespace octavo {
namespace {

// quads[i]: columns at + 4i .. at + 4i + 3 of 16 rows, one dword per row.
template <int kQuads>
inline void LoadQuads(const uint8_t* rows, int64_t row_bytes, int64_t at, int64_t end,
                      __m512i* quads) {
  for (int i = 0; i < kQuads; ++i) {
    alignas(64) uint32_t dwords[16];
    const int64_t k = at + 4 * i;
    for (int c = 0; c < 16; ++c) {
      const uint8_t* row = rows + c * row_bytes;
      uint32_t dword = 0;
      if (k + 4 <= end) {
        __builtin_memcpy(&dword, row + k, 4);
      } else {
        for (int t = 0; t < 4 && k + t < end; ++t) dword |= uint32_t{row[k + t]} << (8 * t);
      }
      dwords[c] = dword;
    }
    quads[i] = _mm512_load_si512(dwords);
  }
}

// 4-bit codes through a 16-entry bf16 table. Dword of a channel: nibble j of half h = column 2j + h, so
// a shift and one vpermw give a pair: the table has period 16, which makes masking unnecessary.
struct NibbleDecoder {
  static constexpr int kBlockK = 8, kPairs = 4;
  static bool Reads(const WeightSpec& w) { return w.code == CodeType::kInt && w.bits <= 4; }
  __m512i table;

  explicit NibbleDecoder(const WeightSpec& w) {
    alignas(64) uint16_t entries[32];
    for (int i = 0; i < 32; ++i) {
      const int code = i % 16;
      const float value = static_cast<float>(w.has_min || code < 8 ? code : code - 16);
      entries[i] = static_cast<uint16_t>(_mm_cvtsi128_si32(_mm_castps_si128(_mm_set_ss(value))) >> 16);
    }
    table = _mm512_load_si512(entries);
  }

  [[gnu::always_inline]] void Decode(__m512i raw, __m512i out[kPairs]) const {
    out[0] = _mm512_permutexvar_epi16(raw, table);
    out[1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(raw, 4), table);
    out[2] = _mm512_permutexvar_epi16(_mm512_srli_epi16(raw, 8), table);
    out[3] = _mm512_permutexvar_epi16(_mm512_srli_epi16(raw, 12), table);
  }

  // Packs columns [at, at + 8) of 16 rows of codes (zero from `end` on) into 64 bytes.
  static void Pack(const uint8_t* rows, int64_t row_bytes, int64_t at, int64_t end, std::byte* out) {
    __m512i quads[2];
    LoadQuads<2>(rows, row_bytes, at, end, quads);
    // Bytes b0..b3 of a channel -> half 0: b0 | b2 << 4, half 1: b1 | b3 << 4; b4.. one byte higher.
    __m512i packed = _mm512_setzero_si512();
    for (int i = 0; i < 2; ++i) {
      const __m512i q = quads[i];
      const __m512i b0 = _mm512_and_si512(q, _mm512_set1_epi32(0x0000000f));
      const __m512i b1 = _mm512_slli_epi32(_mm512_and_si512(q, _mm512_set1_epi32(0x00000f00)), 8);
      const __m512i b2 = _mm512_srli_epi32(_mm512_and_si512(q, _mm512_set1_epi32(0x000f0000)), 12);
      const __m512i b3 = _mm512_srli_epi32(_mm512_and_si512(q, _mm512_set1_epi32(0x0f000000)), 4);
      const __m512i word = _mm512_or_si512(_mm512_or_si512(b0, b1), _mm512_or_si512(b2, b3));
      packed = _mm512_or_si512(packed, i == 0 ? word : _mm512_slli_epi16(word, 8));
    }
    _mm512_storeu_si512(out, packed);
  }
};

// Byte order of the 8-bit decoders that interleave in 128-bit lanes: lane L, half h, channel 4L + d,
// column 2h + t sits at byte 16L + 8h + 2d + t.
inline void PackBytePairs(const uint8_t* rows, int64_t row_bytes, int64_t at, int64_t end,
                          std::byte* out) {
  __m512i quad;
  LoadQuads<1>(rows, row_bytes, at, end, &quad);
  const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  _mm512_storeu_si512(out, _mm512_shuffle_epi8(quad, _mm512_broadcast_i32x4(order)));
}

// 8-bit floats, exact for every code: a table lookup of both bytes of the bf16 by the low seven bits,
// the sign by one ternary logic.
struct Float8Decoder {
  static constexpr int kBlockK = 4, kPairs = 2;
  static bool Reads(const WeightSpec& w) { return w.code == CodeType::kE4M3 || w.code == CodeType::kE5M2; }
  __m512i low0, low1, high0, high1;

  explicit Float8Decoder(const WeightSpec& w) {
    alignas(64) uint8_t low[128], high[128];
    for (int i = 0; i < 128; ++i) {
      const uint32_t bits = w.code == CodeType::kE4M3 ? E4M3Bits(i) : E5M2Bits(i);
      low[i] = static_cast<uint8_t>(bits >> 16);
      high[i] = static_cast<uint8_t>(bits >> 24);
    }
    low0 = _mm512_load_si512(low);
    low1 = _mm512_load_si512(low + 64);
    high0 = _mm512_load_si512(high);
    high1 = _mm512_load_si512(high + 64);
  }

  static uint32_t BitsOf(float v) {
    return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_castps_si128(_mm_set_ss(v))));
  }
  static uint32_t E4M3Bits(int code) {
    if (code == 0x7f) return 0x7fc00000u;
    if (code < 8) return BitsOf(static_cast<float>(code) * 0x1p-9f);
    return (static_cast<uint32_t>(code) << 20) + (120u << 23);
  }
  static uint32_t E5M2Bits(int code) {
    if (code > 0x7c) return 0x7fc00000u | static_cast<uint32_t>(code & 3) << 21;
    if (code == 0x7c) return 0x7f800000u;
    if (code < 4) return BitsOf(static_cast<float>(code) * 0x1p-16f);
    return (static_cast<uint32_t>(code) << 21) + (112u << 23);
  }

  [[gnu::always_inline]] void Decode(__m512i raw, __m512i out[kPairs]) const {
    const __m512i low = _mm512_permutex2var_epi8(low0, raw, low1);
    __m512i high = _mm512_permutex2var_epi8(high0, raw, high1);
    high = _mm512_ternarylogic_epi32(high, raw, _mm512_set1_epi8(-128), 0xf8);  // high | (raw & 0x80)
    out[0] = _mm512_unpacklo_epi8(low, high);
    out[1] = _mm512_unpackhi_epi8(low, high);
  }
  static void Pack(const uint8_t* rows, int64_t row_bytes, int64_t at, int64_t end, std::byte* out) {
    PackBytePairs(rows, row_bytes, at, end, out);
  }
};

// 8-bit integers. Signed: the same tables over |code|, with -128 (whose magnitude has no entry of its
// own) patched in. Unsigned codes go through f32.
struct Int8Decoder {
  static constexpr int kBlockK = 4, kPairs = 2;
  static bool Reads(const WeightSpec& w) { return w.code == CodeType::kInt && w.bits > 4 && !w.has_min; }
  __m512i low0, low1, high0, high1;

  explicit Int8Decoder(const WeightSpec&) {
    alignas(64) uint8_t low[128], high[128];
    for (int i = 0; i < 128; ++i) {
      const uint32_t bits = Float8Decoder::BitsOf(static_cast<float>(i));
      low[i] = static_cast<uint8_t>(bits >> 16);
      high[i] = static_cast<uint8_t>(bits >> 24);
    }
    low0 = _mm512_load_si512(low);
    low1 = _mm512_load_si512(low + 64);
    high0 = _mm512_load_si512(high);
    high1 = _mm512_load_si512(high + 64);
  }
  [[gnu::always_inline]] void Decode(__m512i raw, __m512i out[kPairs]) const {
    const __m512i sign = _mm512_set1_epi8(-128);
    const __m512i magnitude = _mm512_abs_epi8(raw);
    const __m512i low = _mm512_permutex2var_epi8(low0, magnitude, low1);
    __m512i high = _mm512_permutex2var_epi8(high0, magnitude, high1);
    high = _mm512_ternarylogic_epi32(high, raw, sign, 0xf8);
    // -128 is 0xc300; entry 0 gave 0x8000.
    high = _mm512_mask_mov_epi8(high, _mm512_cmpeq_epi8_mask(raw, sign), _mm512_set1_epi8('\xc3'));
    out[0] = _mm512_unpacklo_epi8(low, high);
    out[1] = _mm512_unpackhi_epi8(low, high);
  }
  static void Pack(const uint8_t* rows, int64_t row_bytes, int64_t at, int64_t end, std::byte* out) {
    PackBytePairs(rows, row_bytes, at, end, out);
  }
};

struct Uint8Decoder {
  static constexpr int kBlockK = 4, kPairs = 2;
  static bool Reads(const WeightSpec& w) { return w.code == CodeType::kInt && w.bits > 4 && w.has_min; }
  explicit Uint8Decoder(const WeightSpec&) {}
  [[gnu::always_inline]] static __m512i ToF32(__m512i bytes) {
    return _mm512_castps_si512(_mm512_cvtepi32_ps(bytes));
  }
  [[gnu::always_inline]] void Decode(__m512i raw, __m512i out[kPairs]) const {
    const __m512i byte = _mm512_set1_epi32(0xff);
    for (int p = 0; p < kPairs; ++p) {
      const __m512i even = ToF32(_mm512_and_si512(_mm512_srli_epi32(raw, 16 * p), byte));
      const __m512i odd = ToF32(_mm512_and_si512(_mm512_srli_epi32(raw, 16 * p + 8), byte));
      out[p] = _mm512_or_si512(_mm512_srli_epi32(even, 16), odd);  // <= 255: the low halves are zero
    }
  }
  static void Pack(const uint8_t* rows, int64_t row_bytes, int64_t at, int64_t end, std::byte* out) {
    __m512i quad;
    LoadQuads<1>(rows, row_bytes, at, end, &quad);
    _mm512_storeu_si512(out, quad);
  }
};

// For kernels of 16-bit (or fp8) activations with weights that Decoder makes bf16.
template <typename Decoder>
bool AcceptsDecoded(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format)) return false;
  return Decoder::Reads(w) && IsLegalPair(w, format);
}

}  // namespace
}  // namespace octavo
