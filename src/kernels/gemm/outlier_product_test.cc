// SPDX-License-Identifier: Apache-2.0
// LLM.int8() on every kernel and ISA level against the definition: int8 for regular values, a chain of
// f32 FMAs over the outliers, each row by itself.
#include "kernels/gemm/outlier_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/gemm/gemm_test_util.h"
#include "kernels/gemm/packed_weight.h"

namespace octavo {
namespace {

constexpr float kThreshold = 6.0f;

WeightSpec Spec(int64_t n, int64_t k) {
  return {.code = CodeType::kInt, .bits = 8, .scales = ScaleLayout::kChannel, .n = n, .k = k};
}

std::vector<IsaLevel> Levels() {
  std::vector<IsaLevel> levels;
  for (int level = 0; level <= static_cast<int>(*ActiveIsa()); ++level) {
    levels.push_back(static_cast<IsaLevel>(level));
  }
  return levels;
}

struct Case {
  int64_t rows, n, k;
  int outliers;  // per row, on average
  bool keep = false;
};

// Standard normal rows (cut at 5) with outliers of 6 to 60, the same dims in most rows and others here
// and there.
std::vector<float> Inputs(const Case& c, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::uniform_real_distribution<float> large(6.0f, 60.0f);
  std::vector<float> x(static_cast<size_t>(c.rows * c.k));
  for (float& v : x) v = std::clamp(normal(rng), -5.0f, 5.0f);
  for (int64_t m = 0; m < c.rows; ++m) {
    for (int i = 0; i < c.outliers; ++i) {
      const int64_t column = rng() % 3 == 0 ? static_cast<int64_t>(rng()) % c.k : (i * 37 + 1) % c.k;
      x[static_cast<size_t>(m * c.k + column)] = (rng() % 2 ? 1.0f : -1.0f) * large(rng);
    }
  }
  return x;
}

KeptColumns Keep(const Case& c, uint32_t seed) {
  KeptColumns kept;
  if (!c.keep) return kept;
  std::mt19937 rng(seed);
  for (int64_t column = 1; column < c.k; column += 37) {
    kept.columns.push_back(static_cast<uint16_t>(column));
    for (int64_t n = 0; n < c.n; ++n) {
      kept.values.push_back(F32ToBf16(static_cast<float>(static_cast<int>(rng() % 2001) - 1000) / 997));
    }
  }
  return kept;
}

Result<PackedWeight> Pack(const WeightSpec& spec, const WeightRows& rows, const KeptColumns& kept,
                          float threshold, IsaLevel isa, ThreadPool& pool) {
  return PackedWeight::Pack({{.spec = spec,
                              .format = ActivationFormat::kInt8,
                              .rows = [&](int64_t begin, int64_t count, WeightRows& out) {
                                out = testing::CopyRows(spec, rows, begin, count);
                                return Status::Ok();
                              },
                              .outlier_threshold = threshold,
                              .kept = kept}},
                            isa, pool);
}

ActivationBuffer Encode(const PackedWeight& weight, const float* x, int64_t rows) {
  ActivationBuffer buffer;
  EXPECT_TRUE(buffer.Reserve(weight.activations()[0], rows, weight.k()).ok());
  buffer.SetRows(rows, /*tiles=*/true);
  for (int64_t m = 0; m < rows; ++m) buffer.EncodeRow(m, x + m * weight.k());
  return buffer;
}

std::vector<float> Product(const PackedWeight& weight, const float* x, int64_t rows, ThreadPool& pool,
                       float start = 0, const float* bias = nullptr) {
  const ActivationBuffer encoded = Encode(weight, x, rows);
  std::vector<float> y(static_cast<size_t>(rows * weight.n()), start);
  weight.Multiply(encoded.view(),
                  {.out = y.data(), .row_stride = weight.n(), .bias = bias, .accumulate = start != 0}, pool);
  return y;
}

// One row by the definition, with nothing of the code under test.
std::vector<float> Expected(const Case& c, const WeightRows& w, const KeptColumns& kept, const float* x) {
  float amax = 0x1p-100f;
  for (int64_t i = 0; i < c.k; ++i) {
    if (std::fabs(x[i]) < kThreshold) amax = std::max(amax, std::fabs(x[i]));
  }
  std::vector<float> y;
  for (int64_t n = 0; n < c.n; ++n) {
    const auto code = [&](int64_t i) { return static_cast<int8_t>(w.codes[static_cast<size_t>(n * c.k + i)]); };
    const float scale = w.scales[static_cast<size_t>(n)];
    int64_t dot = 0;
    float chain = 0;
    for (int64_t i = 0; i < c.k; ++i) {
      if (std::fabs(x[i]) < kThreshold) {
        dot += std::lrintf(x[i] * (127.0f / amax)) * code(i);
        continue;
      }
      const auto at = std::find(kept.columns.begin(), kept.columns.end(), static_cast<uint16_t>(i));
      const float weight = at == kept.columns.end()
                               ? static_cast<float>(code(i)) * scale
                               : Bf16ToF32(kept.values[static_cast<size_t>((at - kept.columns.begin()) * c.n + n)]);
      chain = std::fmaf(RoundToBf16(x[i]), weight, chain);
    }
    y.push_back(static_cast<float>(dot) * (amax / 127.0f) * scale + chain);
  }
  return y;
}

TEST(OutlierProductTest, EveryLevelEqualsTheDefinitionOnEdgeShapes) {
  ThreadPool pool(2);
  const Case cases[] = {{1, 1, 1, 1},      {1, 64, 64, 6},    {3, 65, 100, 2},        {7, 96, 131, 0},
                        {33, 17, 257, 5},  {70, 130, 896, 6}, {2, 40, 300, 200, true}, {34, 97, 515, 300},
                        {5, 64, 1000, 9, true}};
  for (const Case& c : cases) {
    const WeightSpec spec = Spec(c.n, c.k);
    const WeightRows rows = testing::RandomWeights(spec, 3);
    const std::vector<float> x = Inputs(c, 4);
    const KeptColumns kept = Keep(c, 5);
    for (const IsaLevel isa : Levels()) {
      const auto weight = Pack(spec, rows, kept, kThreshold, isa, pool);
      ASSERT_TRUE(weight.ok()) << weight.status().ToString();
      const std::vector<float> y = Product(*weight, x.data(), c.rows, pool);
      for (int64_t m = 0; m < c.rows; ++m) {
        const std::vector<float> expected = Expected(c, rows, kept, x.data() + m * c.k);
        for (int64_t n = 0; n < c.n; ++n) {
          ASSERT_EQ(y[static_cast<size_t>(m * c.n + n)], expected[static_cast<size_t>(n)])
              << NameOf(isa) << " [" << c.rows << ", " << c.n << ", " << c.k << "] row " << m << " n " << n;
        }
      }
    }
  }
}

TEST(OutlierProductTest, ARowDoesNotDependOnItsBatchOrTheThreads) {
  ThreadPool one(1), two(2);
  const Case c{90, 200, 640, 8};
  const WeightRows rows = testing::RandomWeights(Spec(c.n, c.k), 3);
  std::vector<float> x = Inputs(c, 4);
  std::fill_n(x.begin() + 5 * c.k, c.k, 7.5f);  // a row of outliers only: every column is gathered
  for (const IsaLevel isa : Levels()) {
    const auto weight = Pack(Spec(c.n, c.k), rows, {}, kThreshold, isa, one);
    ASSERT_TRUE(weight.ok());
    const std::vector<float> batch = Product(*weight, x.data(), c.rows, two);
    for (const int64_t m : {int64_t{0}, int64_t{5}, int64_t{6}, c.rows - 1}) {
      const std::vector<float> alone = Product(*weight, x.data() + m * c.k, 1, one);
      ASSERT_TRUE(std::equal(alone.begin(), alone.end(), batch.begin() + m * c.n)) << NameOf(isa) << " row " << m;
    }
  }
}

TEST(OutlierProductTest, BiasAndResidualComeBeforeTheOutliers) {
  ThreadPool pool(1);
  const Case c{3, 70, 128, 4};
  const WeightRows rows = testing::RandomWeights(Spec(c.n, c.k), 3);
  const std::vector<float> x = Inputs(c, 4);
  const std::vector<float> bias(static_cast<size_t>(c.n), 0.625f);
  const auto reference = Pack(Spec(c.n, c.k), rows, {}, kThreshold, IsaLevel::kReference, pool);
  ASSERT_TRUE(reference.ok());
  const std::vector<float> expected = Product(*reference, x.data(), c.rows, pool, 3.5f, bias.data());
  for (const IsaLevel isa : Levels()) {
    const auto weight = Pack(Spec(c.n, c.k), rows, {}, kThreshold, isa, pool);
    ASSERT_TRUE(weight.ok());
    EXPECT_EQ(Product(*weight, x.data(), c.rows, pool, 3.5f, bias.data()), expected) << NameOf(isa);
  }
  EXPECT_NEAR(expected[0], Expected(c, rows, {}, x.data())[0] + 3.5f + 0.625f, 1e-4);
}

TEST(OutlierProductTest, ThresholdZeroIsPlainInt8) {
  ThreadPool pool(1);
  const Case c{4, 50, 96, 3};
  const WeightRows rows = testing::RandomWeights(Spec(c.n, c.k), 3);
  const std::vector<float> x = Inputs(c, 4);
  const auto off = Pack(Spec(c.n, c.k), rows, {}, 0, *ActiveIsa(), pool);
  ASSERT_TRUE(off.ok());
  EXPECT_EQ(Encode(*off, x.data(), c.rows).view().outliers, nullptr);
  const auto never = Pack(Spec(c.n, c.k), rows, {}, 1e30f, *ActiveIsa(), pool);
  ASSERT_TRUE(never.ok());
  EXPECT_EQ(Product(*off, x.data(), c.rows, pool), Product(*never, x.data(), c.rows, pool));
  const auto on = Pack(Spec(c.n, c.k), rows, {}, kThreshold, *ActiveIsa(), pool);
  ASSERT_TRUE(on.ok());
  EXPECT_NE(Product(*off, x.data(), c.rows, pool), Product(*on, x.data(), c.rows, pool));
}

TEST(OutlierProductTest, NanAndInfinityReachTheirRowOnly) {
  ThreadPool pool(1);
  const Case c{4, 40, 70, 2};
  const WeightRows rows = testing::RandomWeights(Spec(c.n, c.k), 3);
  std::vector<float> x = Inputs(c, 4);
  const std::vector<float> clean = x;
  x[static_cast<size_t>(c.k + 3)] = std::numeric_limits<float>::quiet_NaN();
  x[static_cast<size_t>(2 * c.k + 69)] = -std::numeric_limits<float>::infinity();
  for (const IsaLevel isa : Levels()) {
    const auto weight = Pack(Spec(c.n, c.k), rows, {}, kThreshold, isa, pool);
    ASSERT_TRUE(weight.ok());
    const std::vector<float> y = Product(*weight, x.data(), c.rows, pool);
    const std::vector<float> before = Product(*weight, clean.data(), c.rows, pool);
    for (int64_t i = 0; i < c.rows * c.n; ++i) {
      const auto at = static_cast<size_t>(i);
      if (i / c.n == 1 || i / c.n == 2) {
        EXPECT_TRUE(std::isnan(y[at]));
      } else {
        EXPECT_EQ(y[at], before[at]);
      }
    }
  }
}

TEST(OutlierProductTest, RefusesWhatItCannotSplit) {
  ThreadPool pool(1);
  WeightSpec groups = Spec(16, 64);
  groups.scales = ScaleLayout::kGroup;
  groups.group_size = 32;
  const WeightRows rows = testing::RandomWeights(groups, 3);
  EXPECT_FALSE(Pack(groups, rows, {}, kThreshold, *ActiveIsa(), pool).ok());
  const WeightRows channel = testing::RandomWeights(Spec(16, 64), 3);
  const KeptColumns unsorted{.columns = {5, 3}, .values = std::vector<uint16_t>(32)};
  EXPECT_FALSE(Pack(Spec(16, 64), channel, unsorted, kThreshold, *ActiveIsa(), pool).ok());
  const KeptColumns short_values{.columns = {3, 5}, .values = std::vector<uint16_t>(31)};
  EXPECT_FALSE(Pack(Spec(16, 64), channel, short_values, kThreshold, *ActiveIsa(), pool).ok());
  const KeptColumns beyond{.columns = {64}, .values = std::vector<uint16_t>(16)};
  EXPECT_FALSE(Pack(Spec(16, 64), channel, beyond, kThreshold, *ActiveIsa(), pool).ok());
  ActivationBuffer buffer;
  EXPECT_FALSE(buffer.Reserve({.format = ActivationFormat::kBf16, .outlier_threshold = kThreshold}, 1, 64).ok());
  EXPECT_FALSE(buffer.Reserve({.format = ActivationFormat::kInt8, .outlier_threshold = kThreshold}, 1, 70000).ok());
}

}  // namespace
}  // namespace octavo
