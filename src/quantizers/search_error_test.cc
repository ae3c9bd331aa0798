// SPDX-License-Identifier: Apache-2.0
// Errors of candidates against f64, on every ISA level.
#include "quantizers/search_error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/testing.h"
#include "schemes/test_checkpoint.h"

namespace octavo {
namespace {

constexpr int64_t kCols = 192;

// X^T X of inputs with one common direction, as activations have it.
std::vector<float> RandomGram(uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> gram(static_cast<size_t>(kCols * kCols));
  for (int token = 0; token < 400; ++token) {
    const float common = normal(random);
    std::vector<float> x(static_cast<size_t>(kCols));
    for (float& value : x) value = 2 * common + normal(random);
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t j = 0; j < x.size(); ++j) gram[i * x.size() + j] += x[i] * x[j];
    }
  }
  return gram;
}

TEST(SearchErrorTest, FormsAreThoseOfDoublePrecision) {
  constexpr int64_t kRows = 21;
  const std::vector<float> gram = RandomGram(1);
  const std::vector<float> a = RandomWeights(kRows * kCols, 2);
  for (const IsaLevel isa : testing::RunnableIsaLevels()) {
    ThreadPool pool(2);
    MatrixProduct product(isa, pool);
    const auto packed = SearchGram::Pack({gram.data(), kCols, kCols, kCols}, product);
    ASSERT_TRUE(packed.ok()) << packed.status().ToString();
    std::vector<double> forms;
    ASSERT_TRUE(packed->Forms({a.data(), kRows, kCols, kCols}, product, forms).ok());
    ASSERT_EQ(std::ssize(forms), kRows);
    for (int64_t row = 0; row < kRows; ++row) {
      double want = 0;
      for (int64_t i = 0; i < kCols; ++i) {
        for (int64_t j = 0; j < kCols; ++j) {
          want += static_cast<double>(a[static_cast<size_t>(row * kCols + i)]) *
                  static_cast<double>(gram[static_cast<size_t>(i * kCols + j)]) *
                  static_cast<double>(a[static_cast<size_t>(row * kCols + j)]);
        }
      }
      // f32: chains of 192 products. bf16: two roundings of up to 2^-9 per product, averaged over the form; 1 % is
      // less than what one step of a search's grid changes.
      const double bound = isa >= IsaLevel::kAvx512Bf16 ? 1e-2 : 1e-5;
      EXPECT_NEAR(forms[static_cast<size_t>(row)] / want, 1, bound) << NameOf(isa) << " row " << row;
    }
  }
}

TEST(SearchErrorTest, CandidatesAreRoundedRowByRow) {
  constexpr int64_t kRows = 37;
  const Scheme& scheme = *FindScheme("W4A16");
  TargetModule module{.name = "m", .n = kRows, .k = kCols, .dtype = DType::kBF16, .args = scheme.args};
  module.args.weights.group_size = 32;
  const std::vector<float> w = RandomWeights(kRows * kCols, 3);
  const Candidate twice{
      .read = [&](int64_t row, float* x) {
        for (int64_t i = 0; i < kCols; ++i) x[i] = 2 * w[static_cast<size_t>(row * kCols + i)];
      },
      .error = [&](int64_t row, float* values) {
        for (int64_t i = 0; i < kCols; ++i) values[i] = values[i] / 2 - w[static_cast<size_t>(row * kCols + i)];
      }};
  std::vector<std::vector<float>> errors;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    errors.emplace_back(w.size());
    ASSERT_TRUE(RoundCandidate(scheme, module, twice, kRows, pool, errors.back().data()).ok());
  }
  EXPECT_EQ(errors[0], errors[1]);
  // Scales double with the weights, so codes stay: steps are 2/15 of the largest weight, which
  // itself may lie a whole step above the last code.
  for (int64_t group = 0; group < std::ssize(w) / 32; ++group) {
    float largest = 0, worst = 0;
    for (int64_t i = group * 32; i < group * 32 + 32; ++i) {
      largest = std::max(largest, std::fabs(w[static_cast<size_t>(i)]));
      worst = std::max(worst, std::fabs(errors[0][static_cast<size_t>(i)]));
    }
    EXPECT_GT(worst, 0.0f);
    EXPECT_LE(worst, 1.01f * 2 * largest / 15) << group;
  }
  std::vector<float> bad = w;
  bad[5] = std::nanf("");
  const Candidate broken{.read = [&](int64_t row, float* x) { std::copy_n(bad.data() + row * kCols, kCols, x); },
                         .error = [](int64_t, float*) {}};
  ThreadPool pool(2);
  EXPECT_EQ(RoundCandidate(scheme, module, broken, kRows, pool, errors[0].data()).code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace octavo
