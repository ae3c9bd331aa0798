// SPDX-License-Identifier: Apache-2.0
// Dot products of attention with AVX-512 F, BW, VL: f32, and bf16 pairs by f32 arithmetic.
#pragma once

#include <immintrin.h>

#include "kernels/attention/decode-inl.h"
#include "kernels/simd/f32x16_avx512.h"

namespace octavo {
namespace {

struct DotF32 {
  using V = F32x16;
  static constexpr int kVectors = 4, kTokensPerStep = 1, kPhases = 1;
  static constexpr size_t kOperandBytes = 4;

  template <int>
  static V LoadB(const std::byte* p) {
    return V::Load(reinterpret_cast<const float*>(p));
  }
  template <int>
  static V LoadA(const std::byte* p) {
    return V::Set1(*reinterpret_cast<const float*>(p));
  }
  static V Step(V acc, V a, V b) { return Fma(a, b, acc); }
  static V Round(V x) { return x; }
  static void StoreOperand(V x, std::byte* p) { x.Store(reinterpret_cast<float*>(p)); }
  static void Decode(const KvCodeTable&, const std::byte*, int, std::byte*) {}  // f32 pages are read directly
};

// Rounds to bf16 and back; NaN stays NaN.
inline F32x16 RoundToBf16(F32x16 x) {
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __m512i rounded = _mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  return {_mm512_mask_mov_ps(_mm512_castsi512_ps(rounded), nan, x.v)};
}

// VDPBF16PS in two steps: the odd elements first, then the even ones. Operands are kept as f32.
struct DotBf16 : DotF32 {
  static constexpr int kTokensPerStep = 2, kPhases = 2;

  template <int kPhase>
  static V LoadB(const std::byte* p) {
    const __m512i pair = _mm512_loadu_si512(p);
    if constexpr (kPhase == 0) {
      return {_mm512_castsi512_ps(
          _mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
    }
    return {_mm512_castsi512_ps(_mm512_slli_epi32(pair, 16))};
  }
  template <int kPhase>
  static V LoadA(const std::byte* p) {
    return V::Set1(reinterpret_cast<const float*>(p)[1 - kPhase]);
  }
  static V Round(V x) { return RoundToBf16(x); }
  static void StoreOperand(V x, std::byte* p) { Round(x).Store(reinterpret_cast<float*>(p)); }
  static void Decode(const KvCodeTable& table, const std::byte* from, int count, std::byte* to) {
    DecodeCodes(table, from, count, to);
  }
};

}  // namespace
}  // namespace octavo
