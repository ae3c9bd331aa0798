// SPDX-License-Identifier: Apache-2.0
// Comparison statistics against values worked out by hand and by simulation.
#include "metrics/comparison.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace octavo {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(ComparisonTest, OnePositionSaysWhatBothModelsSay) {
  const std::array<float, 2> p = {std::log(0.8f), std::log(0.2f)};
  const std::array<float, 2> q = {0.0f, std::log(3.0f)};
  const TokenComparison token = CompareLogits(p, q, 1);
  EXPECT_NEAR(token.kl, 0.8 * std::log(0.8 / 0.25) + 0.2 * std::log(0.2 / 0.75), 1e-6);
  EXPECT_NEAR(token.reference_log_prob, std::log(0.2), 1e-6);
  EXPECT_NEAR(token.other_log_prob, std::log(0.75), 1e-6);
  EXPECT_EQ(token.reference_top, 0);
  EXPECT_EQ(token.other_top, 1);
  EXPECT_NEAR(token.reference_top_log_prob, std::log(0.8), 1e-6);
}

TEST(ComparisonTest, SummaryOfFourPositions) {
  std::vector<TokenComparison> tokens(4);
  const std::array<double, 4> kl = {0.1, 0.2, 0.3, 0.8};
  for (size_t i = 0; i < 4; ++i) {
    tokens[i].kl = kl[i];
    tokens[i].reference_log_prob = -static_cast<double>(i);        // mean nll 1.5
    tokens[i].other_log_prob = -static_cast<double>(i) - 0.25;     // always 0.25 worse
    tokens[i].reference_top = i == 0 ? 1 : 0;                      // one of four differs
  }
  const ComparisonSummary summary = Summarize(tokens);
  EXPECT_EQ(summary.positions, 4);
  EXPECT_DOUBLE_EQ(summary.mean_kl.value, 0.35);
  // Sample variance of 0.1, 0.2, 0.3, 0.8 is 0.29 / 3.
  EXPECT_NEAR(summary.mean_kl.standard_error, std::sqrt(0.29 / 3 / 4), 1e-12);
  EXPECT_DOUBLE_EQ(summary.median_kl.value, 0.2);
  EXPECT_DOUBLE_EQ(summary.max_kl, 0.8);
  EXPECT_DOUBLE_EQ(summary.top1_agreement.value, 0.75);
  EXPECT_NEAR(summary.reference_perplexity.value, std::exp(1.5), 1e-12);
  EXPECT_NEAR(summary.perplexity_delta.value, std::exp(1.75) - std::exp(1.5), 1e-12);
  EXPECT_NEAR(summary.perplexity_percent.value, 100 * (std::exp(0.25) - 1), 1e-9);
  // The same change everywhere has no error, although each perplexity has.
  EXPECT_NEAR(summary.perplexity_percent.standard_error, 0, 1e-9);
  EXPECT_GT(summary.reference_perplexity.standard_error, 1.0);
}

TEST(ComparisonTest, NothingMeasuredIsUnknownNotZero) {
  const ComparisonSummary summary = Summarize({});
  EXPECT_TRUE(std::isnan(summary.mean_kl.value));
  EXPECT_TRUE(std::isnan(summary.top1_agreement.value));
  EXPECT_TRUE(std::isnan(summary.perplexity_percent.value));
}

TEST(ComparisonTest, BrokenModelsShow) {
  std::vector<TokenComparison> tokens;
  tokens.push_back(CompareLogits(std::array{1.0f, 0.0f}, std::array{1.0f, 0.0f}, 0));
  tokens.push_back(CompareLogits(std::array{1.0f, 0.0f}, std::array{std::nanf(""), 0.0f}, 0));
  tokens.push_back(CompareLogits(std::array{0.0f, 0.0f}, std::array{0.0f, -kInf}, 1));
  const ComparisonSummary summary = Summarize(tokens);
  EXPECT_EQ(summary.non_finite, 2);
  EXPECT_TRUE(std::isinf(summary.max_kl));
  EXPECT_FALSE(summary.mean_kl.value <= 1e9);  // a limit refuses it
  EXPECT_EQ(WorstTokens(tokens, 2), (std::vector<int64_t>{1, 2}));
}

// Over many samples, the spread of an estimate is the standard error that it states.
TEST(ComparisonTest, StandardErrorsAreHonest) {
  std::mt19937 random(5);
  std::exponential_distribution<double> exponential(1.0);
  constexpr int kRounds = 400;
  std::array<double, 2> sum{}, squares{}, stated{};  // mean, median
  for (int round = 0; round < kRounds; ++round) {
    std::vector<TokenComparison> tokens(500);
    for (TokenComparison& token : tokens) token.kl = exponential(random);
    const ComparisonSummary summary = Summarize(tokens);
    const std::array<Estimate, 2> estimates = {summary.mean_kl, summary.median_kl};
    for (size_t i = 0; i < 2; ++i) {
      sum[i] += estimates[i].value;
      squares[i] += estimates[i].value * estimates[i].value;
      stated[i] += estimates[i].standard_error / kRounds;
    }
  }
  for (size_t i = 0; i < 2; ++i) {
    const double mean = sum[i] / kRounds;
    const double spread = std::sqrt(squares[i] / kRounds - mean * mean);
    // The spread of 400 rounds is known to 1 / sqrt(800) = 3.5 %; allow four times that.
    EXPECT_NEAR(stated[i] / spread, 1.0, 0.14) << i;
  }
}

TEST(ComparisonTest, WorstTokensAreSortedAndBounded) {
  std::vector<TokenComparison> tokens(5);
  for (size_t i = 0; i < 5; ++i) tokens[i].kl = i == 2 ? 9.0 : static_cast<double>(i);
  EXPECT_EQ(WorstTokens(tokens, 3), (std::vector<int64_t>{2, 4, 3}));
  EXPECT_EQ(WorstTokens(tokens, 50).size(), 5u);
}

TEST(ComparisonTest, HistogramHoldsEveryPosition) {
  std::vector<TokenComparison> tokens(4);
  tokens[1].kl = 1e-6;
  tokens[2].kl = 0.5;
  tokens[3].kl = std::nan("");
  const Histogram histogram = KlHistogram(tokens);
  ASSERT_EQ(histogram.counts.size(), histogram.edges.size() + 1);
  EXPECT_EQ(histogram.counts.front(), 2);  // 0 and the first edge itself
  EXPECT_EQ(histogram.counts.back(), 1);   // NaN counts as infinite
  int64_t all = 0;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    all += histogram.counts[i];
    if (histogram.counts[i] == 1 && i + 1 < histogram.counts.size()) {
      EXPECT_LE(histogram.edges[i - 1], 0.5);
      EXPECT_GE(histogram.edges[i], 0.5);
    }
  }
  EXPECT_EQ(all, 4);
}

}  // namespace
}  // namespace octavo
