// SPDX-License-Identifier: Apache-2.0
// Attention with AVX2 and FMA. Sixteen lanes are two registers, so a register tile is one vector wide.
#include <immintrin.h>

#include "kernels/attention/decode-inl.h"
#include "kernels/simd/f32x16_avx2.h"

#include "kernels/attention/attention_tile-inl.h"

namespace octavo {
namespace {

struct DotF32 {
  using V = F32x16;
  static constexpr int kVectors = 1, kTokensPerStep = 1, kPhases = 1;
  static constexpr size_t kOperandBytes = 4;

  template <int>
  static V LoadB(const std::byte* p) {
    return V::Load(reinterpret_cast<const float*>(p));
  }
  template <int>
  static __m256 LoadA(const std::byte* p) {
    return _mm256_broadcast_ss(reinterpret_cast<const float*>(p));
  }
  static V Step(V acc, __m256 a, V b) {
    return {_mm256_fmadd_ps(a, b.lo, acc.lo), _mm256_fmadd_ps(a, b.hi, acc.hi)};
  }
  static V Round(V x) { return x; }
  static void StoreOperand(V x, std::byte* p) { x.Store(reinterpret_cast<float*>(p)); }
  static void Decode(const KvCodeTable&, const std::byte*, int, std::byte*) {}  // f32 pages are read directly
};

// Rounds to bf16 and back; NaN stays NaN.
inline __m256 RoundToBf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i rounded = _mm256_and_si256(sum, _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
  return _mm256_blendv_ps(_mm256_castsi256_ps(rounded), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

// VDPBF16PS in two steps: the odd elements first, then the even ones. Operands are kept as f32.
struct DotBf16 : DotF32 {
  static constexpr int kTokensPerStep = 2, kPhases = 2;

  template <int kPhase>
  static __m256 Half(const std::byte* p) {
    const __m256i pair = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    if constexpr (kPhase == 0) {
      return _mm256_castsi256_ps(
          _mm256_and_si256(pair, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
    }
    return _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));
  }
  template <int kPhase>
  static V LoadB(const std::byte* p) {
    return {Half<kPhase>(p), Half<kPhase>(p + 32)};
  }
  template <int kPhase>
  static __m256 LoadA(const std::byte* p) {
    return _mm256_broadcast_ss(reinterpret_cast<const float*>(p) + 1 - kPhase);
  }
  static V Round(V x) { return {RoundToBf16(x.lo), RoundToBf16(x.hi)}; }
  static void StoreOperand(V x, std::byte* p) { Round(x).Store(reinterpret_cast<float*>(p)); }
  static void Decode(const KvCodeTable& table, const std::byte* from, int count, std::byte* to) {
    DecodeCodes(table, from, count, to);
  }
};

}  // namespace

extern const AttentionKernel kAttention_attention_avx2;
constinit const AttentionKernel kAttention_attention_avx2 = {
    "attention_avx2", IsaLevel::kAvx2, AttendTile<DotF32, DotBf16>, MergePartials<F32x16>};

}  // namespace octavo
