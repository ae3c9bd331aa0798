// SPDX-License-Identifier: Apache-2.0
// Log-probabilities, perplexity and KL divergence against values worked out by hand.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "metrics/kl.h"
#include "metrics/log_probs.h"
#include "metrics/perplexity.h"

namespace octavo {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(LogProbsTest, UniformLogitsGiveUniformProbabilities) {
  const std::vector<float> logits(50000, 3.5f);
  EXPECT_NEAR(LogProb(logits, 7), -std::log(50000.0), 1e-9);
}

TEST(LogProbsTest, LargeLogitsDoNotOverflow) {
  const std::array<float, 3> logits = {3e38f, 3e38f, -3e38f};
  EXPECT_NEAR(LogSumExp(logits) / 3e38, 1.0, 1e-6);
  const std::array<float, 2> small = {-1000.0f, -1001.0f};
  EXPECT_NEAR(LogSumExp(small), -1000.0 + std::log1p(std::exp(-1.0)), 1e-6);
}

TEST(LogProbsTest, InfinitiesAndNansShow) {
  EXPECT_EQ(LogSumExp(std::array{-kInf, -kInf}), -kInf);
  EXPECT_EQ(LogProb(std::array{0.0f, -kInf}, 1), -kInf);
  EXPECT_TRUE(std::isnan(LogSumExp(std::array{0.0f, std::nanf(""), 9.0f})));
}

TEST(LogProbsTest, ArgMaxTakesTheLowestOfEqualsAndMarginSeesTies) {
  EXPECT_EQ(Top1Token(std::array{1.0f, 5.0f, 5.0f}), 1);
  EXPECT_EQ(Top1Margin(std::array{1.0f, 5.0f, 5.0f}), 0.0f);
  EXPECT_EQ(Top1Margin(std::array{5.0f, 1.0f, 3.5f}), 1.5f);
}

TEST(PerplexityTest, IsTheExponentialOfTheMeanOverWindows) {
  PerplexityMeter meter;
  EXPECT_TRUE(std::isnan(meter.perplexity()));
  meter.BeginWindow();
  meter.Add(-1.0);
  meter.Add(-3.0);  // window mean 2
  meter.BeginWindow();
  meter.Add(-4.0);  // window mean 4: windows count alike, whatever their length
  EXPECT_DOUBLE_EQ(meter.perplexity(), std::exp(3.0));
  EXPECT_EQ(meter.windows(), 2);
  EXPECT_EQ(meter.tokens(), 3);
}

TEST(PerplexityTest, UniformModelHasPerplexityOfItsVocabulary) {
  PerplexityMeter meter;
  const std::vector<float> logits(320, 0.0f);
  for (int window = 0; window < 3; ++window) {
    meter.BeginWindow();
    for (int t = 0; t < 10; ++t) meter.Add(LogProb(logits, t));
  }
  EXPECT_NEAR(meter.perplexity(), 320.0, 1e-6);
}

TEST(KlTest, MatchesTheDefinitionOnTwoOutcomes) {
  // P = (0.8, 0.2), Q = (0.5, 0.5).
  const std::array<float, 2> p = {std::log(0.8f), std::log(0.2f)};
  const std::array<float, 2> q = {1.0f, 1.0f};
  EXPECT_NEAR(KlDivergence(p, q), 0.8 * std::log(1.6) + 0.2 * std::log(0.4), 1e-6);
  EXPECT_EQ(KlDivergence(p, p), 0.0);
  EXPECT_EQ(KlDivergence(q, std::array{0.0f, -kInf}), kInf);
}

TEST(KlTest, IsInvariantToAConstantAndNeverNegative) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 50; ++round) {
    std::vector<float> a(100);
    std::vector<float> b(100);
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = normal(random);
      b[i] = a[i] + 12.0f;
    }
    // Rounding of a[i] + 12 moves each logit by at most 2^-20.
    EXPECT_NEAR(KlDivergence(a, b), 0.0, 1e-6);
    EXPECT_GE(KlDivergence(a, b), 0.0);
  }
}

TEST(DivergenceMeterTest, CountsAgreementOnlyWhereTheReferenceIsSure) {
  DivergenceMeter meter;
  meter.Add(std::array{1.00f, 1.05f}, std::array{1.05f, 1.0f});  // a coin toss that fell differently
  meter.Add(std::array{1.0f, 3.0f}, std::array{1.0f, 2.0f});     // agrees
  EXPECT_DOUBLE_EQ(meter.top1_agreement(), 0.5);
  EXPECT_DOUBLE_EQ(meter.top1_agreement_above(0.1f), 1.0);
  meter.Add(std::array{1.0f, 3.0f}, std::array{2.0f, 1.0f});  // disagrees
  EXPECT_DOUBLE_EQ(meter.top1_agreement_above(0.1f), 0.5);
}

TEST(DivergenceMeterTest, QuantilesAreOrderStatistics) {
  DivergenceMeter meter;
  const std::array<float, 2> even = {0.0f, 0.0f};
  for (int i = 1; i <= 100; ++i) {
    meter.Add(even, std::array{0.0f, 0.01f * static_cast<float>(i)});
  }
  const double largest = KlDivergence(even, std::array{0.0f, 1.0f});
  EXPECT_DOUBLE_EQ(meter.max_kl(), largest);
  EXPECT_DOUBLE_EQ(meter.kl_quantile(0.99), KlDivergence(even, std::array{0.0f, 0.01f * 99}));
  EXPECT_LT(meter.mean_kl(), largest);
}

}  // namespace
}  // namespace octavo
