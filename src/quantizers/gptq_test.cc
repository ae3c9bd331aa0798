// SPDX-License-Identifier: Apache-2.0
// The blocked solver against the paper's algorithm written out in f64, and its edge cases.
#include "quantizers/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "quantizers/output_error.h"
#include "schemes/test_checkpoint.h"

namespace octavo {
namespace {

using Matrix = std::vector<double>;  // [k, k]

// Inputs with correlated channels of very different size, [tokens, k], as bf16 holds them.
std::vector<float> RandomInputs(int64_t tokens, int64_t k, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(tokens * k));
  for (int64_t row = 0; row < tokens; ++row) {
    const float common = normal(random);
    for (int64_t col = 0; col < k; ++col) {
      const float size = col % 17 == 0 ? 8.0f : 1.0f;
      x[static_cast<size_t>(row * k + col)] = RoundToBf16(size * (common + normal(random)));
    }
  }
  return x;
}

InputStatistics Observe(const std::vector<float>& x, int64_t k, int64_t batch, MatrixProduct& product,
                        double norm_limit = 0) {
  auto observer = InputObserver::Create(k, /*with_gram=*/true, norm_limit);
  EXPECT_TRUE(observer.ok());
  const auto tokens = static_cast<int64_t>(x.size()) / k;
  for (int64_t begin = 0; begin < tokens; begin += batch) {
    ActivationBuffer buffer;
    const int64_t count = std::min(batch, tokens - begin);
    EXPECT_TRUE(buffer.Reserve({ActivationFormat::kBf16, 0}, count, k).ok());
    for (int64_t row = 0; row < count; ++row) buffer.EncodeRow(row, x.data() + (begin + row) * k);
    EXPECT_TRUE(observer->Add(buffer.view(), product).ok());
  }
  return observer->Take();
}

// Inverse by Gauss-Jordan; A is positive definite.
Matrix Inverse(Matrix a, size_t k) {
  Matrix inverse(k * k);
  for (size_t i = 0; i < k; ++i) inverse[i * k + i] = 1;
  for (size_t p = 0; p < k; ++p) {
    const double pivot = a[p * k + p];
    for (size_t j = 0; j < k; ++j) a[p * k + j] /= pivot, inverse[p * k + j] /= pivot;
    for (size_t i = 0; i < k; ++i) {
      if (i == p) continue;
      const double factor = a[i * k + p];
      for (size_t j = 0; j < k; ++j) {
        a[i * k + j] -= factor * a[p * k + j];
        inverse[i * k + j] -= factor * inverse[p * k + j];
      }
    }
  }
  return inverse;
}

// Upper U with A = U^T U.
Matrix UpperCholesky(const Matrix& a, size_t k) {
  Matrix u(k * k);
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = i; j < k; ++j) {
      double sum = a[i * k + j];
      for (size_t m = 0; m < i; ++m) sum -= u[m * k + i] * u[m * k + j];
      u[i * k + j] = i == j ? std::sqrt(sum) : sum / u[i * k + i];
    }
  }
  return u;
}

// Algorithm 1 of the paper with act-order and static groups, one column at a time.
std::vector<int> ReferenceGptq(const std::vector<float>& x, const std::vector<float>& w,
                               const TargetModule& module, const QuantizedRows& scales) {
  const auto k = static_cast<size_t>(module.k);
  Matrix h(k * k);
  for (size_t row = 0; row < x.size() / k; ++row) {
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j < k; ++j) {
        h[i * k + j] += static_cast<double>(x[row * k + i]) * static_cast<double>(x[row * k + j]);
      }
    }
  }
  std::vector<size_t> order(k);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return h[a * k + a] > h[b * k + b]; });
  double mean = 0;
  for (size_t i = 0; i < k; ++i) mean += h[i * k + i] / static_cast<double>(k);
  Matrix permuted(k * k);
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = 0; j < k; ++j) permuted[i * k + j] = h[order[i] * k + order[j]];
    permuted[i * k + i] += kDefaultDamping * mean;
  }
  const Matrix u = UpperCholesky(Inverse(permuted, k), k);
  const double q_min = -(1 << (module.args.weights.num_bits - 1));
  const size_t groups = k / static_cast<size_t>(module.args.weights.group_size);
  std::vector<int> codes(w.size());
  for (size_t row = 0; row < w.size() / k; ++row) {
    std::vector<double> rest(k);
    for (size_t i = 0; i < k; ++i) rest[i] = static_cast<double>(w[row * k + order[i]]);
    for (size_t i = 0; i < k; ++i) {
      const size_t at = row * groups + order[i] / static_cast<size_t>(module.args.weights.group_size);
      const double scale = static_cast<double>(scales.scales[at]);
      const double zero = scales.zero_points.empty() ? 0 : scales.zero_points[at];
      const double q = std::nearbyint(std::clamp(rest[i] / scale + zero, q_min, -q_min - 1));
      codes[row * k + order[i]] = static_cast<int>(q);
      const double error = (rest[i] - (q - zero) * scale) / u[i * k + i];
      for (size_t j = i; j < k; ++j) rest[j] -= error * u[i * k + j];
    }
  }
  return codes;
}

class GptqTest : public testing::Test {
 protected:
  static constexpr int64_t kRows = 37;  // no multiple of the tile
  static constexpr int64_t kCols = 320;

  static TargetModule Module(const Scheme& scheme) {
    TargetModule module{.name = "m", .n = kRows, .k = kCols, .dtype = DType::kBF16, .args = scheme.args};
    if (scheme.args.weights.strategy == Strategy::kGroup) module.args.weights.group_size = 32;
    return module;
  }

  double OutputErrorOf(const Scheme& scheme, const TargetModule& module, const std::vector<float>& w,
                       QuantizedRows rows, const InputStatistics& input) {
    std::vector<float> values(w.size());
    Dequantize(scheme, module, rows, values.data());
    OutputError error;
    EXPECT_TRUE(AddOutputError(w.data(), values.data(), module.n, input.Gram(), product_, error).ok());
    return error.relative_error();
  }

  ThreadPool pool_{2};
  MatrixProduct product_{*ActiveIsa(), pool_};
};

TEST_F(GptqTest, ChoosesTheCodesOfThePaper) {
  const std::vector<float> x = RandomInputs(900, kCols, 1);
  const std::vector<float> w = RandomWeights(kRows * kCols, 2);
  const InputStatistics input = Observe(x, kCols, 256, product_);
  const auto factor = FactorHessian(input, {}, {}, product_);
  ASSERT_TRUE(factor.ok()) << factor.status().ToString();
  EXPECT_DOUBLE_EQ(factor->damping, kDefaultDamping);
  for (const std::string_view name : {"W4A16", "W4A16_ASYM", "W3A16"}) {
    SCOPED_TRACE(name);
    const Scheme& scheme = *FindScheme(name);
    const TargetModule module = Module(scheme);
    std::vector<float> copy = w;
    QuantizedRows rows;
    const GptqRows block{.x = copy.data(), .row_begin = 0, .count = kRows};
    ASSERT_TRUE(QuantizeGptq(scheme, module, *factor, block, product_, rows).ok());
    const std::vector<int> expected = ReferenceGptq(x, w, module, rows);
    int different = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      different += expected[i] != static_cast<int8_t>(rows.codes[i]) ? 1 : 0;
    }
    // A value between two codes may fall either way in f32, and pulls a few later ones along.
    EXPECT_LT(different, static_cast<int>(expected.size() / 200));
  }
}

TEST_F(GptqTest, BeatsRoundToNearestOnTheOutput) {
  const std::vector<float> w = RandomWeights(kRows * kCols, 3);
  const InputStatistics input = Observe(RandomInputs(900, kCols, 4), kCols, 900, product_);
  const auto factor = FactorHessian(input, {}, {}, product_);
  ASSERT_TRUE(factor.ok());
  for (const std::string_view name : {"W4A16", "W4A16_ASYM", "W3A16", "W8A16", "W8A8"}) {
    SCOPED_TRACE(name);
    const Scheme& scheme = *FindScheme(name);
    const TargetModule module = Module(scheme);
    QuantizedRows nearest;
    ASSERT_TRUE(scheme.quantize(module, w.data(), 0, kRows, nearest).ok());
    std::vector<float> copy = w;
    QuantizedRows rows;
    const GptqRows block{.x = copy.data(), .row_begin = 0, .count = kRows};
    ASSERT_TRUE(QuantizeGptq(scheme, module, *factor, block, product_, rows).ok());
    EXPECT_EQ(rows.scales, nearest.scales);
    EXPECT_LT(OutputErrorOf(scheme, module, w, rows, input),
              0.7 * OutputErrorOf(scheme, module, w, nearest, input));
  }
}

TEST_F(GptqTest, RoundsToNearestWhereInputsAreIndependent) {
  std::vector<float> x(static_cast<size_t>(kCols * kCols));
  for (int64_t i = 0; i < kCols; ++i) x[static_cast<size_t>(i * kCols + i)] = 2.0f;
  const InputStatistics input = Observe(x, kCols, kCols, product_);
  const auto factor = FactorHessian(input, {}, {}, product_);
  ASSERT_TRUE(factor.ok());
  const Scheme& scheme = *FindScheme("W4A16");
  const TargetModule module = Module(scheme);
  std::vector<float> w = RandomWeights(kRows * kCols, 5);
  QuantizedRows nearest;
  ASSERT_TRUE(scheme.quantize(module, w.data(), 0, kRows, nearest).ok());
  QuantizedRows rows;
  const GptqRows block{.x = w.data(), .row_begin = 0, .count = kRows};
  ASSERT_TRUE(QuantizeGptq(scheme, module, *factor, block, product_, rows).ok());
  EXPECT_EQ(rows.codes, nearest.codes);
}

TEST_F(GptqTest, DoesNotDependOnThreadsOrRowBlocks) {
  const InputStatistics input = Observe(RandomInputs(400, kCols, 6), kCols, 100, product_);
  const Scheme& scheme = *FindScheme("W4A16");
  const TargetModule module = Module(scheme);
  std::vector<uint8_t> first;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    MatrixProduct product(*ActiveIsa(), pool);
    const auto factor = FactorHessian(input, {}, {}, product);
    ASSERT_TRUE(factor.ok());
    std::vector<uint8_t> codes;
    const int64_t step = threads == 3 ? 16 : kRows;
    for (int64_t row = 0; row < kRows; row += step) {
      const int64_t count = std::min(step, kRows - row);
      std::vector<float> w = RandomWeights(kRows * kCols, 7);
      QuantizedRows rows;
      ASSERT_TRUE(QuantizeGptq(scheme, module, *factor,
                               {.x = w.data() + row * kCols, .row_begin = row, .count = count}, product,
                               rows)
                      .ok());
      codes.insert(codes.end(), rows.codes.begin(), rows.codes.end());
    }
    if (first.empty()) first = codes;
    EXPECT_EQ(codes, first) << threads;
  }
}

TEST_F(GptqTest, ZeroesColumnsThatNoInputEverReaches) {
  std::vector<float> x = RandomInputs(500, kCols, 8);
  for (size_t row = 0; row < 500; ++row) x[row * kCols + 11] = 0;
  const InputStatistics input = Observe(x, kCols, 500, product_);
  const auto factor = FactorHessian(input, {}, {}, product_);
  ASSERT_TRUE(factor.ok());
  EXPECT_TRUE(factor->dead[11]);
  const Scheme& scheme = *FindScheme("W4A16");
  std::vector<float> w = RandomWeights(kRows * kCols, 9);
  QuantizedRows rows;
  const GptqRows block{.x = w.data(), .row_begin = 0, .count = kRows};
  ASSERT_TRUE(QuantizeGptq(scheme, Module(scheme), *factor, block, product_, rows).ok());
  for (size_t row = 0; row < kRows; ++row) EXPECT_EQ(rows.codes[row * kCols + 11], 0);
}

// One token for 320 channels: rank 1. Without damping nothing could be inverted.
TEST_F(GptqTest, RaisesTheDampingUntilTheHessianCanBeInverted) {
  const InputStatistics input = Observe(RandomInputs(1, kCols, 10), kCols, 1, product_);
  const auto damped = FactorHessian(input, {}, {.damping = 1e-12}, product_);
  ASSERT_TRUE(damped.ok()) << damped.status().ToString();
  EXPECT_GT(damped->damping, 1e-12);
  const auto refused = FactorHessian(input, {}, {.damping = 2.0}, product_);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(GptqTest, NamesTheWeightThatIsNotFinite) {
  const InputStatistics input = Observe(RandomInputs(400, kCols, 11), kCols, 400, product_);
  const auto factor = FactorHessian(input, {}, {}, product_);
  ASSERT_TRUE(factor.ok());
  std::vector<float> w = RandomWeights(kRows * kCols, 12);
  w[3 * kCols + 5] = std::nanf("");
  const Scheme& scheme = *FindScheme("W4A16");
  QuantizedRows rows;
  const GptqRows block{.x = w.data(), .row_begin = 0, .count = kRows};
  const Status status = QuantizeGptq(scheme, Module(scheme), *factor, block, product_, rows);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("row 3 column 5"), std::string::npos) << status.message();
}

TEST_F(GptqTest, ObservesTheSameWhateverTheBatches) {
  const std::vector<float> x = RandomInputs(300, 70, 13);
  const InputStatistics whole = Observe(x, 70, 300, product_);
  const InputStatistics pieces = Observe(x, 70, 64, product_);
  EXPECT_EQ(whole.num_tokens, 300);
  EXPECT_EQ(whole.absmax, pieces.absmax);
  for (int64_t i = 0; i < 70; ++i) {
    for (int64_t j = 0; j < 70; ++j) {
      double sum = 0;
      for (size_t row = 0; row < 300; ++row) {
        sum += static_cast<double>(x[row * 70 + static_cast<size_t>(i)]) *
               static_cast<double>(x[row * 70 + static_cast<size_t>(j)]);
      }
      // Sums of 300 products of up to 500: f32 rounds each addition by 2^-24 of the running sum.
      const double tolerance = 1e-5 * std::sqrt(static_cast<double>(whole.Gram().Row(i)[i]) *
                                                static_cast<double>(whole.Gram().Row(j)[j]));
      EXPECT_NEAR(static_cast<double>(whole.Gram().Row(i)[j]), sum, tolerance);
      EXPECT_NEAR(static_cast<double>(pieces.Gram().Row(i)[j]), sum, tolerance);
    }
  }
}

// Row 7 is 1000 times its size: in the Gram matrix it counts as 8 times the median norm, elsewhere and without a
// limit in full.
TEST_F(GptqTest, LimitsTokensOfExtremeNorm) {
  constexpr int64_t kTokens = 201, kChannels = 70;
  std::vector<float> x = RandomInputs(kTokens, kChannels, 14);
  std::vector<float> norms;
  for (int64_t row = 0; row < kTokens; ++row) {
    const float* of_row = x.data() + row * kChannels;
    norms.push_back(std::sqrt(std::inner_product(of_row, of_row + kChannels, of_row, 0.0f)));
  }
  std::vector<float> huge = x, limited = x;
  std::vector<float> sorted = norms;
  sorted[7] = std::numeric_limits<float>::infinity();  // it becomes the largest
  std::nth_element(sorted.begin(), sorted.begin() + kTokens / 2, sorted.end());
  const float factor = 8 * sorted[kTokens / 2] / norms[7];
  for (size_t i = 7 * kChannels; i < 8 * kChannels; ++i) {
    huge[i] = RoundToBf16(1000 * x[i]);
    limited[i] = RoundToBf16(factor * x[i]);
  }
  const InputStatistics got = Observe(huge, kChannels, kTokens, product_, 8);
  EXPECT_GT(Observe(huge, kChannels, kTokens, product_).Gram().Row(0)[0], 100 * got.Gram().Row(0)[0]);
  const InputStatistics want = Observe(limited, kChannels, kTokens, product_);
  EXPECT_GT(got.MaxAbs(), 100 * want.MaxAbs());
  for (int64_t i = 0; i < kChannels; ++i) {
    for (int64_t j = 0; j < kChannels; ++j) {
      // Both rows are rounded to bf16, 2^-9 of each value.
      const double tolerance = 0.01 * std::sqrt(static_cast<double>(want.Gram().Row(i)[i]) *
                                                static_cast<double>(want.Gram().Row(j)[j]));
      EXPECT_NEAR(static_cast<double>(got.Gram().Row(i)[j]), static_cast<double>(want.Gram().Row(i)[j]), tolerance);
    }
  }
}

}  // namespace
}  // namespace octavo
