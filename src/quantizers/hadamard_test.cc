// SPDX-License-Identifier: Apache-2.0
// Orthogonality and flatness of rotations, for the hidden sizes of real models and awkward ones.
#include "quantizers/hadamard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace octavo {
namespace {

// Rows of Q, one after the other.
std::vector<double> Matrix(const Rotation& rotation) {
  const int64_t n = rotation.size();
  std::vector<double> q(static_cast<size_t>(n * n));
  std::vector<double> scratch;
  for (int64_t i = 0; i < n; ++i) {
    q[static_cast<size_t>(i * n + i)] = 1.0;
    rotation.Apply(q.data() + i * n, scratch);
  }
  return q;
}

double Dot(const std::vector<double>& q, int64_t n, int64_t a, int64_t b) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += q[static_cast<size_t>(a * n + i)] * q[static_cast<size_t>(b * n + i)];
  }
  return sum;
}

TEST(HadamardTest, PaleyMatricesHaveOrthogonalRowsOfOnes) {
  for (const int64_t order : {4, 12, 20, 24, 28, 36, 44, 60, 76, 108}) {
    SCOPED_TRACE(order);
    const std::vector<double> h = PaleyHadamard(order);
    ASSERT_EQ(h.size(), static_cast<size_t>(order * order));
    for (const double value : h) EXPECT_EQ(std::fabs(value), 1.0);
    for (int64_t i = 0; i < order; ++i) {
      for (int64_t j = 0; j <= i; ++j) EXPECT_EQ(Dot(h, order, i, j), i == j ? order : 0) << i << ' ' << j;
    }
  }
  EXPECT_TRUE(PaleyHadamard(2).empty());
  EXPECT_TRUE(PaleyHadamard(30).empty());
  EXPECT_TRUE(PaleyHadamard(92).empty());  // 91 = 7 * 13 and 45 = 9 * 5
}

TEST(HadamardTest, EveryRotationIsOrthogonal) {
  // 7 and 70 leave an odd factor without a Hadamard matrix; 13 is odd altogether.
  for (const int64_t size : {1, 2, 7, 12, 13, 64, 70, 80, 96, 400, 576, 896, 960}) {
    SCOPED_TRACE(size);
    const std::vector<double> q = Matrix(Rotation(size));
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j <= i; j += std::max<int64_t>(1, size / 37)) {
        EXPECT_NEAR(Dot(q, size, i, j), i == j ? 1.0 : 0.0, 1e-12);
      }
    }
  }
}

TEST(HadamardTest, HiddenSizesOfRealModelsAreSpreadEvenly) {
  const struct {
    int64_t size;
    const char* factors;
  } cases[] = {{576, "H36 x H16"},   {896, "H28 x H32"},   {960, "H60 x H16"},  {1536, "H12 x H128"},
               {2048, "H2048"},      {2304, "H36 x H64"},  {3072, "H12 x H256"}, {3584, "H28 x H128"},
               {4096, "H4096"},      {5120, "H20 x H256"}, {8192, "H8192"}};
  for (const auto& [size, factors] : cases) {
    const Rotation rotation(size);
    EXPECT_EQ(rotation.Describe(), factors);
    std::vector<double> x(static_cast<size_t>(size)), scratch;
    x[static_cast<size_t>(size / 3)] = 1.0;
    rotation.Apply(x.data(), scratch);
    for (const double value : x) EXPECT_NEAR(std::fabs(value) * std::sqrt(size), 1.0, 1e-9);
  }
  EXPECT_EQ(Rotation(70).Describe(), "DCT35 x H2");
}

TEST(HadamardTest, SignsKeepAConstantVectorFromBecomingOneOutlier) {
  std::vector<double> plain(256, 1.0), with_signs(256, 1.0), scratch;
  Rotation(256, false).Apply(plain.data(), scratch);
  Rotation(256).Apply(with_signs.data(), scratch);
  EXPECT_DOUBLE_EQ(plain[0], 16.0);
  for (const double value : with_signs) EXPECT_LT(std::fabs(value), 5.0);
}

}  // namespace
}  // namespace octavo
