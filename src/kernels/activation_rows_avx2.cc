// SPDX-License-Identifier: Apache-2.0
// Row encoders with pairs of 256-bit vectors.
#include <immintrin.h>

#include <cstdint>

#include "kernels/activation_rows.h"

namespace octavo {
namespace {

struct V {
  struct F {
    __m256 lo, hi;
  };
  struct I {
    __m256i lo, hi;
  };
  static F Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static F LoadFirst(const float* p, int64_t count) {
    float padded[16] = {};
    for (int64_t i = 0; i < count && i < 16; ++i) padded[i] = p[i];
    return Load(padded);
  }
  static void Store(float* p, F v) {
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
  }
  static F Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static I ZeroI() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static F Set(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static F Mul(F a, F b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static F Div(F a, F b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static F Add(F a, F b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static __m256 Clamp(__m256 v, __m256 limit) {
    return _mm256_max_ps(_mm256_min_ps(v, limit), _mm256_sub_ps(_mm256_setzero_ps(), limit));
  }
  static F Clamp(F v, F limit) { return {Clamp(v.lo, limit.lo), Clamp(v.hi, limit.hi)}; }
  static I AddI(I a, I b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
  static I ToInt(F v) { return {_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi)}; }
  static __m256i Magnitude(__m256 v) {
    return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
  }
  static I MaxBits(I bits, F v) {
    return {_mm256_max_epi32(bits.lo, Magnitude(v.lo)), _mm256_max_epi32(bits.hi, Magnitude(v.hi))};
  }
  static float ReduceMaxBits(I bits) {
    const __m256i a = _mm256_max_epi32(bits.lo, bits.hi);
    __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4e));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(b));
  }
  static int32_t ReduceSum(I v) {
    const __m256i a = _mm256_add_epi32(v.lo, v.hi);
    __m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4e));
    b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0xb1));
    return _mm_cvtsi128_si32(b);
  }
  static void StoreInt8(int8_t* p, I v) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.lo, v.hi), 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }
  static __m256i ToBf16(__m256 v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  }
  static void StoreBf16(uint16_t* p, F v) {
    const __m256i words = _mm256_packus_epi32(ToBf16(v.lo), ToBf16(v.hi));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(words, 0xd8));
  }
  static __m256 FromBf16(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
  }
  static F LoadBf16(const uint16_t* p) {
    return {FromBf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            FromBf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static F LoadFirstBf16(const uint16_t* p, int64_t count) {
    uint16_t padded[16] = {};
    for (int64_t i = 0; i < count && i < 16; ++i) padded[i] = p[i];
    return LoadBf16(padded);
  }
  // As in activation_rows_avx512.cc.
  static __m256 RoundE4M3(__m256 v) {
    const __m256i magnitude = Magnitude(v);
    const __m256i sign =
        _mm256_andnot_si256(_mm256_set1_epi32(0x7fffffff), _mm256_castps_si256(v));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(magnitude, 20), _mm256_set1_epi32(1));
    __m256i normal =
        _mm256_add_epi32(magnitude, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7ffff)));
    normal = _mm256_and_si256(normal, _mm256_set1_epi32(-0x100000));
    normal = _mm256_min_epi32(normal, _mm256_set1_epi32(0x43e00000));
    const __m256 magic = _mm256_set1_ps(16384.0f);
    const __m256 small = _mm256_sub_ps(_mm256_add_ps(_mm256_castsi256_ps(magnitude), magic), magic);
    const __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x3c800000), magnitude);
    const __m256i result = _mm256_blendv_epi8(normal, _mm256_castps_si256(small), tiny);
    return _mm256_castsi256_ps(_mm256_or_si256(result, sign));
  }
  static F RoundE4M3(F v) { return {RoundE4M3(v.lo), RoundE4M3(v.hi)}; }
  static float FoldSum(F v) {
    const __m256 a = _mm256_add_ps(v.lo, v.hi);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
  }
};

#include "kernels/activation_rows_vector.h"

}  // namespace

extern const ActivationEncoders kActivationEncoders_avx2;
const ActivationEncoders kActivationEncoders_avx2 = {EncodeF32, EncodeBf16, EncodeInt8, EncodeFp8,
                                                     EncodeFp8Group128, EncodeInt8Group32};

}  // namespace octavo
