// SPDX-License-Identifier: Apache-2.0
// Sixteen floats in portable C++: the definition that the AVX2 and AVX-512 versions must equal.
//
// All three F32x16 types have the same members, so that an operation is written once as a template
// over the type. Every member is exact or rounds once per lane to nearest even, and ReduceAdd has a
// fixed tree, hence the levels give equal bits.
#pragma once

#include <math.h>

#include <bit>
#include <cstdint>

#include "base/float16.h"

namespace octavo {
namespace {

struct F32x16 {
  float v[16];

  template <typename Fn>
  static F32x16 Make(const Fn& lane) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = lane(i);
    return r;
  }
  static F32x16 Set1(float x) {
    return Make([x](int) { return x; });
  }
  static F32x16 Zero() { return Set1(0.0f); }
  static F32x16 Load(const float* p) {
    return Make([p](int i) { return p[i]; });
  }
  // The first `n` (0..16) lanes from memory, zeros above.
  static F32x16 LoadPartial(const float* p, int64_t n) {
    return Make([=](int i) { return i < n ? p[i] : 0.0f; });
  }
  static F32x16 LoadBf16(const uint16_t* p) {
    return Make([p](int i) { return Bf16ToF32(p[i]); });
  }
  static F32x16 LoadF16(const uint16_t* p) {
    return Make([p](int i) { return F16ToF32(p[i]); });
  }
  void Store(float* p) const { StorePartial(p, 16); }
  void StorePartial(float* p, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
  }
};

inline F32x16 operator+(F32x16 a, F32x16 b) {
  return F32x16::Make([&](int i) { return a.v[i] + b.v[i]; });
}
inline F32x16 operator-(F32x16 a, F32x16 b) {
  return F32x16::Make([&](int i) { return a.v[i] - b.v[i]; });
}
inline F32x16 operator*(F32x16 a, F32x16 b) {
  return F32x16::Make([&](int i) { return a.v[i] * b.v[i]; });
}
inline F32x16 operator/(F32x16 a, F32x16 b) {
  return F32x16::Make([&](int i) { return a.v[i] / b.v[i]; });
}
// a * b + c with one rounding.
inline F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return F32x16::Make([&](int i) { return fmaf(a.v[i], b.v[i], c.v[i]); });
}
// The second operand where the lanes are equal or one is NaN, as the x86 instructions do.
inline F32x16 Max(F32x16 a, F32x16 b) {
  return F32x16::Make([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline F32x16 Min(F32x16 a, F32x16 b) {
  return F32x16::Make([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline F32x16 Abs(F32x16 a) {
  return F32x16::Make([&](int i) { return fabsf(a.v[i]); });
}
inline F32x16 CopySign(F32x16 magnitude, F32x16 sign) {
  return F32x16::Make([&](int i) { return copysignf(magnitude.v[i], sign.v[i]); });
}
// a < b ? x : y; y where a or b is NaN.
inline F32x16 IfLess(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return F32x16::Make([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}
// p * 2^k where k is the integer in the low mantissa bits of `magic` (k + 1.5 * 2^23).
inline F32x16 ScaleByPow2(F32x16 p, F32x16 magic) {
  return F32x16::Make([&](int i) {
    const uint32_t exponent = std::bit_cast<uint32_t>(magic.v[i]) << 23;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(p.v[i]) + exponent);
  });
}
// Lanes i and i + 8, then i and i + 4, i and i + 2, and the last two.
inline float ReduceAdd(F32x16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.v[i] += a.v[i + width];
  }
  return a.v[0];
}
inline float ReduceMax(F32x16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.v[i] = a.v[i] > a.v[i + width] ? a.v[i] : a.v[i + width];
  }
  return a.v[0];
}

}  // namespace
}  // namespace octavo
