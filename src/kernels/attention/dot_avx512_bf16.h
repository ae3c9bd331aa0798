// SPDX-License-Identifier: Apache-2.0
// Dot products of attention with AVX512_BF16, and codes decoded by AVX512_VBMI permutes.
#pragma once

#include "kernels/attention/dot_avx512.h"

namespace octavo {
namespace {

// The numbers of 128 codes, as two pairs of registers for VPERMI2B.
struct ByteTables {
  __m512i low[2], high[2];

  explicit ByteTables(const KvCodeTable& table) {
    for (int i = 0; i < 2; ++i) {
      low[i] = _mm512_load_si512(table.low + 64 * i);
      high[i] = _mm512_load_si512(table.high + 64 * i);
    }
  }
};

// Low and high bytes of the codes come from two tables of 128 entries, the sign from the code itself.
// Unpacking interleaves bytes within 128-bit lanes; the page's order makes two vectors of that.
template <bool kSigned>
inline void DecodeBytes(const KvCodeTable& codes, const std::byte* from, int count, std::byte* to) {
  const ByteTables table(codes);
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int i = 0; i < count / 2; ++i, from += 64, to += 128) {
    const __m512i code = _mm512_loadu_si512(from);
    const __m512i index = kSigned ? _mm512_abs_epi8(code) : code;
    const __m512i low = _mm512_permutex2var_epi8(table.low[0], index, table.low[1]);
    const __m512i high = _mm512_permutex2var_epi8(table.high[0], index, table.high[1]);
    const __m512i with_sign = _mm512_ternarylogic_epi32(high, code, sign, 0xf8);  // high | code & sign
    _mm512_storeu_si512(to, _mm512_unpacklo_epi8(low, with_sign));
    _mm512_storeu_si512(to + 64, _mm512_unpackhi_epi8(low, with_sign));
  }
}

// VPERMW looks at five index bits; the table repeats after sixteen, so that the fifth does not matter.
inline void DecodeNibbles(const KvCodeTable& numbers, const std::byte* from, int count, std::byte* to) {
  const __m512i table = _mm512_load_si512(numbers.bf16);
  for (int i = 0; i < count / 4; ++i, from += 64, to += 256) {
    const __m512i codes = _mm512_loadu_si512(from);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(codes, table));
    _mm512_storeu_si512(to + 64, _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 4), table));
    _mm512_storeu_si512(to + 128, _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 8), table));
    _mm512_storeu_si512(to + 192, _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 12), table));
  }
}

struct DotBf16Native {
  using V = F32x16;
  static constexpr int kVectors = 4, kTokensPerStep = 2, kPhases = 1;
  static constexpr size_t kOperandBytes = 2;

  template <int>
  static __m512bh LoadB(const std::byte* p) {
    return (__m512bh)_mm512_loadu_si512(p);
  }
  template <int>
  static __m512bh LoadA(const std::byte* p) {
    return (__m512bh)_mm512_set1_epi32(*reinterpret_cast<const int*>(p));
  }
  static V Step(V acc, __m512bh a, __m512bh b) { return {_mm512_dpbf16_ps(acc.v, b, a)}; }
  static V Round(V x) {
    return {_mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x.v)), 16))};
  }
  static void StoreOperand(V x, std::byte* p) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x.v));
  }
  static void Decode(const KvCodeTable& table, const std::byte* from, int count, std::byte* to) {
    switch (table.dtype) {
      case KvDType::kInt4: return DecodeNibbles(table, from, count, to);
      case KvDType::kInt8: return DecodeBytes<true>(table, from, count, to);
      default: return DecodeBytes<false>(table, from, count, to);
    }
  }
};

}  // namespace
}  // namespace octavo
