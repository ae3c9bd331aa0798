// SPDX-License-Identifier: Apache-2.0
#include "quantizers/cholesky.h"

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

class CholeskyTest : public testing::TestWithParam<int64_t> {
 protected:
  ThreadPool pool_{2};
  MatrixProduct product_{*ActiveIsa(), pool_};
};

TEST_P(CholeskyTest, GivesTheMatrixBack) {
  const int64_t k = GetParam();
  const std::vector<float> a = RandomHessian(k, 7);
  std::vector<float> factor = a;
  const auto positive = FactorUnitCholesky(factor.data(), k, product_);
  ASSERT_TRUE(positive.ok()) << positive.status().ToString();
  ASSERT_TRUE(*positive);
  const auto m = [&](int64_t row, int64_t col) {
    return row == col ? 1.0 : static_cast<double>(factor[static_cast<size_t>(row * k + col)]);
  };
  // D from the diagonal of A, then every element of M D M^T. Diagonals are near 2; f32 chains of k products round
  // by 2^-24 each.
  std::vector<double> d(static_cast<size_t>(k));
  double worst = 0;
  for (int64_t row = 0; row < k; ++row) {
    EXPECT_EQ(factor[static_cast<size_t>(row * k + row)], 1.0f);
    for (int64_t col = 0; col <= row; ++col) {
      double sum = 0;
      for (int64_t i = 0; i < col; ++i) sum += m(row, i) * d[static_cast<size_t>(i)] * m(col, i);
      const double want = static_cast<double>(a[static_cast<size_t>(row * k + col)]);
      if (row == col) {
        d[static_cast<size_t>(row)] = want - sum;
        EXPECT_GT(d[static_cast<size_t>(row)], 0.0);
      } else {
        worst = std::max(worst, std::fabs(sum + m(row, col) * d[static_cast<size_t>(col)] - want));
      }
    }
  }
  EXPECT_LT(worst, 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Sizes, CholeskyTest, testing::Values(1, 3, 127, 128, 129, 600));

TEST(CholeskyRefusalTest, SaysThatAMatrixIsNotPositiveDefinite) {
  ThreadPool pool(2);
  MatrixProduct product(*ActiveIsa(), pool);
  for (const int64_t bad : {0, 100, 299}) {
    std::vector<float> a = RandomHessian(300, 3);
    a[static_cast<size_t>(bad * 300 + bad)] = -1.0f;
    const auto positive = FactorUnitCholesky(a.data(), 300, product);
    ASSERT_TRUE(positive.ok());
    EXPECT_FALSE(*positive) << bad;
  }
  std::vector<float> nan(4, std::nanf(""));
  const auto positive = FactorUnitCholesky(nan.data(), 2, product);
  ASSERT_TRUE(positive.ok());
  EXPECT_FALSE(*positive);
}

}  // namespace
}  // namespace octavo
