// SPDX-License-Identifier: Apache-2.0
// Row encoders with 512-bit vectors.
#include <immintrin.h>

#include <cstdint>

#include "kernels/activation_rows.h"

namespace octavo {
namespace {

struct V {
  using F = __m512;
  using I = __m512i;
  static __mmask16 First(int64_t count) {
    return count >= 16 ? __mmask16(0xffff) : static_cast<__mmask16>((1u << count) - 1u);
  }
  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static F LoadFirst(const float* p, int64_t count) { return _mm512_maskz_loadu_ps(First(count), p); }
  static void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F Zero() { return _mm512_setzero_ps(); }
  static I ZeroI() { return _mm512_setzero_si512(); }
  static F Set(float v) { return _mm512_set1_ps(v); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Clamp(F v, F limit) {
    return _mm512_max_ps(_mm512_min_ps(v, limit), _mm512_sub_ps(_mm512_setzero_ps(), limit));
  }
  static I AddI(I a, I b) { return _mm512_add_epi32(a, b); }
  static I ToInt(F v) { return _mm512_cvtps_epi32(v); }
  static I Magnitude(F v) {
    return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
  }
  static I MaxBits(I bits, F v) { return _mm512_max_epi32(bits, Magnitude(v)); }
  static float ReduceMaxBits(I bits) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(bits))));
  }
  static int32_t ReduceSum(I v) { return _mm512_reduce_add_epi32(v); }
  static void StoreInt8(int8_t* p, I v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  }
  static void StoreBf16(uint16_t* p, F v) {
    const I bits = _mm512_castps_si512(v);
    const I odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const I rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const I quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const I result = _mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(result));
  }
  static F FromBf16(__m256i v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
  }
  static F LoadBf16(const uint16_t* p) {
    return FromBf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F LoadFirstBf16(const uint16_t* p, int64_t count) {
    return FromBf16(_mm256_maskz_loadu_epi16(First(count), p));
  }
  // RoundTo E4M3 of finite values: below 2^-6 the adder rounds to multiples of 2^-9, above it the
  // mantissa is cut to three bits; the rest is saturated.
  static F RoundE4M3(F v) {
    const I magnitude = Magnitude(v);
    const I sign = _mm512_andnot_si512(_mm512_set1_epi32(0x7fffffff), _mm512_castps_si512(v));
    const I odd = _mm512_and_si512(_mm512_srli_epi32(magnitude, 20), _mm512_set1_epi32(1));
    I normal = _mm512_add_epi32(magnitude, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7ffff)));
    normal = _mm512_and_si512(normal, _mm512_set1_epi32(-0x100000));
    normal = _mm512_min_epi32(normal, _mm512_set1_epi32(0x43e00000));  // 448
    const F magic = _mm512_set1_ps(16384.0f);
    const F small = _mm512_sub_ps(_mm512_add_ps(_mm512_castsi512_ps(magnitude), magic), magic);
    const __mmask16 tiny = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(0x3c800000));
    const I result = _mm512_mask_mov_epi32(normal, tiny, _mm512_castps_si512(small));
    return _mm512_castsi512_ps(_mm512_or_si512(result, sign));
  }
  static float FoldSum(F v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
  }
};

#include "kernels/activation_rows_vector.h"

}  // namespace

extern const ActivationEncoders kActivationEncoders_avx512;
const ActivationEncoders kActivationEncoders_avx512 = {EncodeF32, EncodeBf16, EncodeInt8, EncodeFp8,
                                                       EncodeFp8Group128, EncodeInt8Group32};

}  // namespace octavo
