// SPDX-License-Identifier: Apache-2.0
// Fake int8 takes the values that integer codes would.
#include "quality/fake_int8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

namespace octavo {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::IsNan;

std::vector<float> Random(size_t count) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal(0.5f, 1.0f);
  std::vector<float> x(count);
  for (float& v : x) v = normal(rng);
  return x;
}

TEST(FakeInt8Test, AbsmaxEqualsIntegerArithmetic) {
  const std::vector<float> x = Random(1000);
  float absmax = 0;
  for (const float v : x) absmax = std::max(absmax, std::fabs(v));
  std::vector<float> rounded = x;
  FakeInt8(Int8Code::kAbsmax, rounded.data(), std::ssize(rounded));
  for (size_t i = 0; i < x.size(); ++i) {
    const auto q = static_cast<int>(std::nearbyintf(x[i] * (127 / absmax)));
    ASSERT_LE(std::abs(q), 127);
    ASSERT_EQ(rounded[i], static_cast<float>(q) * (absmax / 127)) << i;
  }
}

TEST(FakeInt8Test, ZeropointSpendsItsCodesOnTheRange) {
  std::vector<float> x = Random(4000);
  for (float& v : x) v = std::fabs(v);  // one-sided: absmax wastes half of its codes
  std::vector<float> absmax = x, zeropoint = x;
  FakeInt8(Int8Code::kAbsmax, absmax.data(), std::ssize(x));
  FakeInt8(Int8Code::kZeropoint, zeropoint.data(), std::ssize(x));
  const auto error = [&](const std::vector<float>& y) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += std::pow(static_cast<double>(y[i]) - static_cast<double>(x[i]), 2);
    return std::sqrt(sum);
  };
  EXPECT_LE(std::set<float>(zeropoint.begin(), zeropoint.end()).size(), 255u);
  EXPECT_NEAR(error(zeropoint) / error(absmax), 0.5, 0.05);  // half the step
}

TEST(FakeInt8Test, ZeroStaysZeroAndScalesAreByRowOrForAll) {
  std::vector<float> x = {0, 1, 100, 9, 0, 127, 100, 9};  // rows of 3, 4 apart
  std::vector<float> rows = x, all = x;
  FakeInt8Matrix(Int8Code::kAbsmax, true, rows.data(), 2, 3, 4);
  FakeInt8Matrix(Int8Code::kAbsmax, false, all.data(), 2, 3, 4);
  EXPECT_THAT(rows, ElementsAre(0, FloatEq(100.0f / 127), 100, 9, 0, 127, 100, 9));
  EXPECT_THAT(all, ElementsAre(0, 1, 100, 9, 0, 127, 100, 9));
  std::vector<float> zeros(5);
  FakeInt8(Int8Code::kZeropoint, zeros.data(), 5);
  EXPECT_THAT(zeros, Each(0));
}

TEST(FakeInt8Test, WhatIsNotFiniteSpoilsItsScale) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x = {1, bad, 2};
    FakeInt8(Int8Code::kAbsmax, x.data(), 3);
    EXPECT_THAT(x, Each(IsNan()));
  }
}

}  // namespace
}  // namespace octavo
