// SPDX-License-Identifier: Apache-2.0
// exp, tanh and the normal distribution's tail on sixteen floats, written once for all ISA levels.
//
// V is an F32x16 (simd/f32x16_*.h). The coefficients are minimax fits in relative error, made with
// iteratively reweighted least squares in double precision. Maximum errors are checked over dense
// grids in elementwise_test.cc; equal inputs give equal bits on every level.
#pragma once

namespace octavo {

// Evaluates c[0] + x * (c[1] + x * (...)) by Horner's rule with one FMA per coefficient.
template <class V, int kCount>
inline V Polynomial(V x, const float (&c)[kCount]) {
  V r = V::Set1(c[kCount - 1]);
  for (int i = kCount - 2; i >= 0; --i) r = Fma(r, x, V::Set1(c[i]));
  return r;
}

// 2^f for |f| <= 0.5, times 2^k for the integer k held in `magic` = k + 1.5 * 2^23. Exactly 1 at
// f = k = 0. The result must be a normal number.
template <class V>
inline V Exp2Reduced(V f, V magic) {
  constexpr float kExp2[] = {1.0f,           0x1.62e42ap-1f, 0x1.ebf9bcp-3f,
                             0x1.c6b752p-5f, 0x1.3cea88p-7f, 0x1.5bba14p-10f};
  return ScaleByPow2(Polynomial(f, kExp2), magic);
}

// 1.5 * 2^23: adding it rounds to the nearest integer, ties to even, and leaves that integer in the
// low mantissa bits.
inline constexpr float kRoundMagic = 12582912.0f;

// 2^x for x <= 127, 0 for x < -126 (also -infinity). Relative error <= 2.2e-7; Exp2(0) == 1.
template <class V>
inline V Exp2(V x) {
  const V magic = x + V::Set1(kRoundMagic);
  const V f = x - (magic - V::Set1(kRoundMagic));
  return IfLess(x, V::Set1(-126.0f), V::Zero(), Exp2Reduced(f, magic));
}

// e^x for x in [-87, 88]; arguments outside are clamped to these ends. Relative error <= 2.3e-7.
template <class V>
inline V Exp(V x) {
  const V bounded = Max(V::Set1(-87.0f), Min(V::Set1(88.0f), x));  // NaN stays NaN
  constexpr float kLog2eHigh = 0x1.715476p+0f;
  constexpr float kLog2eLow = 0x1.4ae0cp-26f;
  const V magic = Fma(bounded, V::Set1(kLog2eHigh), V::Set1(kRoundMagic));
  const V k = magic - V::Set1(kRoundMagic);
  const V f = Fma(bounded, V::Set1(kLog2eLow), Fma(bounded, V::Set1(kLog2eHigh), V::Zero() - k));
  return Exp2Reduced(f, magic);
}

// tanh x: an odd polynomial up to 0.625, 1 - 2 / (e^2x + 1) above. Relative error <= 2.5e-7.
template <class V>
inline V Tanh(V x) {
  constexpr float kTanh[] = {-0x1.555532p-2f, 0x1.110726p-3f, -0x1.b83c5ap-5f, 0x1.52269cp-6f,
                             -0x1.75e1cep-8f};
  const V a = Abs(x);
  const V z = x * x;
  const V small = Fma(z * Polynomial(z, kTanh), x, x);
  const V one = V::Set1(1.0f);
  const V large = one - V::Set1(2.0f) / (Exp(a + a) + one);
  return IfLess(a, V::Set1(0.625f), small, CopySign(large, x));
}

// x / (1 + e^-x), the SiLU.
template <class V>
inline V Silu(V x) {
  return x / (V::Set1(1.0f) + Exp(V::Zero() - x));
}

// GELU by its tanh formula: 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
template <class V>
inline V GeluTanh(V x) {
  const V cubic = Fma(x * x, V::Set1(0.044715f) * x, x);
  return x / (V::Set1(1.0f) + Exp(cubic * V::Set1(-1.5957691216057308f)));
}

// Exact GELU, x * Phi(x), with t = |x| / sqrt(2):
//   t < 1:  0.5 x (1 + erf t), erf an odd polynomial;
//   t >= 1: the tail 0.5 erfc t = e^(-t^2) R(1 / (1 + t)), taken from 1 on the positive side, so that
//           far negative x keep their relative precision. -t^2 is split in two to the last bit.
template <class V>
inline V GeluErf(V x) {
  constexpr float kErf[] = {0x1.20dd74p+0f,  -0x1.812674p-2f, 0x1.ce0944p-4f,
                            -0x1.b5a360p-6f, 0x1.4246e4p-8f,  -0x1.273fe0p-11f};
  constexpr float kErfcx[] = {0x1.20db4ep-1f,  0x1.212f28p-1f, 0x1.16f5c6p-2f,
                              -0x1.a167dcp-3f, -0x1.0b0060p+0f, 0x1.c9342ap-2f,
                              0x1.4b1a5ap+1f,  -0x1.e7d42ep+1f, 0x1.ad2998p+0f};
  const V half = V::Set1(0.5f), one = V::Set1(1.0f);
  const V a = Min(V::Set1(16.0f), Abs(x));  // the tail is below 1e-38 from 13 on
  const V t = a * V::Set1(0.70710678118654752f);
  const V near = half * Fma(t * Polynomial(t * t, kErf), CopySign(one, x), one);
  const V half_a = half * a;
  const V square = half_a * a;
  const V square_low = Fma(half_a, a, V::Zero() - square);
  const V decay = Exp(V::Zero() - square);
  const V u = one / (one + t);
  const V tail = half * (u * Polynomial(u, kErfcx)) * Fma(decay, V::Zero() - square_low, decay);
  const V far = IfLess(x, V::Zero(), tail, one - tail);
  return x * IfLess(t, one, near, far);
}

}  // namespace octavo
