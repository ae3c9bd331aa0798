// SPDX-License-Identifier: Apache-2.0
// The stated errors of exp2, exp and tanh, on the reference lanes (all levels give the same bits).
#include "kernels/simd/math-inl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/simd/f32x16_reference.h"

namespace octavo {
namespace {

// The largest relative error over every 4001st float of both signs with magnitude in [low, high].
template <typename Fn>
double MaxError(float low, float high, const Fn& fn, const std::function<double(double)>& exact) {
  double worst = 0;
  for (uint32_t b = std::bit_cast<uint32_t>(low); b <= std::bit_cast<uint32_t>(high); b += 8 * 4001) {
    const F32x16 x = F32x16::Make([b](int i) {
      const float magnitude = std::bit_cast<float>(b + static_cast<uint32_t>(i / 2) * 4001);
      return i % 2 == 0 ? magnitude : -magnitude;
    });
    const F32x16 y = fn(x);
    for (int i = 0; i < 16; ++i) {
      if (std::abs(x.v[i]) > high) continue;
      const double want = exact(x.v[i]);
      worst = std::max(worst, std::abs(y.v[i] - want) / std::abs(want));
    }
  }
  return worst;
}

TEST(MathTest, StatedErrors) {
  EXPECT_LT(MaxError(1e-6f, 126.0f, [](F32x16 x) { return Exp2(x); },
                     [](double x) { return std::exp2(x); }), 2.3e-7);
  EXPECT_LT(MaxError(1e-6f, 87.0f, [](F32x16 x) { return Exp(x); },
                     [](double x) { return std::exp(x); }), 2.3e-7);
  EXPECT_LT(MaxError(1e-12f, 100.0f, [](F32x16 x) { return Tanh(x); },
                     [](double x) { return std::tanh(x); }), 2.5e-7);
}

TEST(MathTest, Exp2IsExactAtZeroAndFlushesBelowTheNormalRange) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Exp2(F32x16::Zero()).v[0], 1.0f);
  EXPECT_EQ(Exp2(F32x16::Set1(-126.0f)).v[0], 0x1p-126f);
  EXPECT_EQ(Exp2(F32x16::Set1(-126.01f)).v[0], 0.0f);
  EXPECT_EQ(Exp2(F32x16::Set1(-kInfinity)).v[0], 0.0f);
}

TEST(MathTest, ExpClampsItsArgument) {
  EXPECT_EQ(Exp(F32x16::Set1(1e30f)).v[0], Exp(F32x16::Set1(88.0f)).v[0]);
  EXPECT_EQ(Exp(F32x16::Set1(-1e30f)).v[0], Exp(F32x16::Set1(-87.0f)).v[0]);
  EXPECT_TRUE(std::isnan(Exp(F32x16::Set1(std::numeric_limits<float>::quiet_NaN())).v[0]));
}

}  // namespace
}  // namespace octavo
