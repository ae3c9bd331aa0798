// SPDX-License-Identifier: Apache-2.0
#include "quantizers/triangular_inverse.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace octavo {
namespace {

// X^T X / tokens + share * I for random X with correlated columns.
std::vector<float> RandomHessian(int64_t k, uint32_t seed) {
  const int64_t tokens = 2 * k;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(tokens * k));
  for (int64_t row = 0; row < tokens; ++row) {
    const float common = normal(random);
    for (int64_t col = 0; col < k; ++col) x[static_cast<size_t>(row * k + col)] = common + normal(random);
  }
  std::vector<float> a(static_cast<size_t>(k * k));
  for (int64_t row = 0; row < tokens; ++row) {
    const float* values = x.data() + row * k;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        a[static_cast<size_t>(i * k + j)] += values[i] * values[j] / static_cast<float>(tokens);
      }
    }
  }
  for (int64_t i = 0; i < k; ++i) a[static_cast<size_t>(i * k + i)] += 0.01f;
  return a;
}

class TriangularInverseTest : public testing::TestWithParam<int64_t> {
 protected:
  ThreadPool pool_{2};
  MatrixProduct product_{*ActiveIsa(), pool_};
};

TEST_P(TriangularInverseTest, TurnsTheMatrixIntoTheIdentity) {
  const int64_t k = GetParam();
  const std::vector<float> a = RandomHessian(k, 7);
  std::vector<float> inverse = a;
  const auto positive = InvertCholesky(inverse.data(), k, product_);
  ASSERT_TRUE(positive.ok()) << positive.status().ToString();
  ASSERT_TRUE(*positive);
  // L^-1 A L^-T = I. Rows of L^-1 reach 1 / sqrt(smallest eigenvalue), about 10, so f32 noise of
  // 1e-6 in A and L becomes some 1e-4.
  std::vector<double> half(static_cast<size_t>(k * k));
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t m = 0; m <= i; ++m) {
      const double l = static_cast<double>(inverse[static_cast<size_t>(i * k + m)]);
      for (int64_t j = 0; j < k; ++j) {
        half[static_cast<size_t>(i * k + j)] += l * static_cast<double>(a[static_cast<size_t>(m * k + j)]);
      }
    }
  }
  double worst = 0;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < k; ++j) {
      double sum = i == j ? -1 : 0;
      for (int64_t m = 0; m <= j; ++m) {
        sum += half[static_cast<size_t>(i * k + m)] * static_cast<double>(inverse[static_cast<size_t>(j * k + m)]);
      }
      worst = std::max(worst, std::fabs(sum));
      if (j > i) {
        EXPECT_EQ(inverse[static_cast<size_t>(i * k + j)], 0.0f);
      }
    }
  }
  EXPECT_LT(worst, 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Sizes, TriangularInverseTest, testing::Values(1, 3, 255, 256, 257, 600));

TEST(TriangularInverseRefusalTest, SaysThatAMatrixIsNotPositiveDefinite) {
  ThreadPool pool(2);
  MatrixProduct product(*ActiveIsa(), pool);
  for (const int64_t bad : {0, 100, 299}) {
    std::vector<float> a = RandomHessian(300, 3);
    a[static_cast<size_t>(bad * 300 + bad)] = -1.0f;
    const auto positive = InvertCholesky(a.data(), 300, product);
    ASSERT_TRUE(positive.ok());
    EXPECT_FALSE(*positive) << bad;
  }
  std::vector<float> nan(4, std::nanf(""));
  const auto positive = InvertCholesky(nan.data(), 2, product);
  ASSERT_TRUE(positive.ok());
  EXPECT_FALSE(*positive);
}

}  // namespace
}  // namespace octavo
