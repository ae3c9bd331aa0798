// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "engine/logit_ops.h"

namespace octavo {
namespace {

using ::testing::ElementsAre;

std::vector<float> RandomRow(size_t size, uint64_t seed, float spread = 3) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> row(size);
  for (float& x : row) x = normal(rng);
  return row;
}

// vLLM V1's chain written down as plainly as possible: the probabilities a draw must follow.
std::vector<double> ReferenceDistribution(std::vector<float> x, const SamplingParams& p) {
  for (float& v : x) v /= static_cast<float>(p.temperature);
  const auto softmax = [](const std::vector<float>& v) {
    const float max = *std::max_element(v.begin(), v.end());
    std::vector<double> w;
    double sum = 0;
    for (const float value : v) sum += w.emplace_back(std::exp(static_cast<double>(value - max)));
    for (double& value : w) value /= sum;
    return w;
  };
  const float inf = std::numeric_limits<float>::infinity();
  if (p.min_p > 0) {
    const auto w = softmax(x);
    const double floor = p.min_p * *std::max_element(w.begin(), w.end());
    for (size_t i = 0; i < x.size(); ++i) x[i] = w[i] < floor ? -inf : x[i];
  }
  if (p.top_k > 0 && p.top_k < static_cast<int64_t>(x.size())) {
    auto sorted = x;
    std::sort(sorted.rbegin(), sorted.rend());
    const float kth = sorted[static_cast<size_t>(p.top_k - 1)];
    for (float& v : x) v = v < kth ? -inf : v;
  }
  if (p.top_p < 1) {
    const auto w = softmax(x);
    std::vector<size_t> order(x.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return w[a] > w[b]; });
    double before = 0;
    for (const size_t i : order) {
      if (before >= p.top_p) x[i] = -inf;
      before += w[i];
    }
  }
  return softmax(x);
}

Sample DrawOnce(Sampler& sampler, const SamplingParams& params, std::vector<float> row,
                DrawKey key = {}, const TokenHistory& history = {}, std::vector<int32_t> ends = {},
                int64_t num_output = 0) {
  return sampler.Draw({&params, &history, ends, num_output, nullptr}, row, {&key, 1})[0];
}

TEST(LogitOpsTest, ExpNegativeIsAccurate) {
  for (float x = 0; x > -87; x -= 0.01f) {
    const double want = std::exp(static_cast<double>(x));
    EXPECT_NEAR(static_cast<double>(ExpNegative(x)) / want, 1, 2e-7) << x;
  }
  EXPECT_EQ(ExpNegative(kMinusInfinity), 0);
  EXPECT_EQ(ExpNegative(std::nanf("")), 0);
}

TEST(LogitOpsTest, ArgMaxTakesTheLowestOfTies) {
  for (const size_t size : {1u, 15u, 300u, 5000u}) {
    std::vector<float> row(size, 1.5f);
    EXPECT_EQ(ArgMax(row).index, 0);
    row[size - 1] = 2;
    EXPECT_EQ(ArgMax(row).index, static_cast<int32_t>(size - 1));
    row[size / 2] = 2;
    EXPECT_EQ(ArgMax(row).index, static_cast<int32_t>(size / 2));
    row[0] = std::nanf("");
    EXPECT_EQ(ArgMax(row).value, size == 1 ? kMinusInfinity : 2);
  }
}

TEST(LogitOpsTest, SelectionsEqualSorting) {
  std::vector<float> scratch;
  for (const size_t size : {1u, 31u, 33u, 1000u, 20000u}) {
    auto row = RandomRow(size, size);
    if (size > 100) std::fill_n(row.begin(), 50, 9.0f);  // ties at the top
    std::vector<int32_t> order(size);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
    });
    for (const size_t k : {size_t{1}, size / 3 + 1, size}) {
      EXPECT_EQ(KthLargest(row, static_cast<int64_t>(k), scratch),
                row[static_cast<size_t>(order[k - 1])]);
      const std::vector<int32_t> want(order.begin(), order.begin() + static_cast<ptrdiff_t>(k));
      EXPECT_EQ(TopIndices(row, static_cast<int64_t>(k), scratch), want);
    }
    EXPECT_EQ(CountGreater(row, row[static_cast<size_t>(order[size / 2])]) <=
                  static_cast<int64_t>(size / 2),
              true);
  }
}

TEST(PhiloxTest, EqualsTheReferenceVectors) {
  // Known answers of Random123: zero, all ones, digits of pi.
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, 0),
              ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  EXPECT_THAT(Philox4x32({~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}),
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(Philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0x299f31d0a4093822u),
              ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}

TEST(SamplerTest, ZeroTemperatureIsGreedy) {
  Sampler sampler;
  SamplingParams params;
  params.temperature = 0;
  params.top_k = 3;
  EXPECT_EQ(DrawOnce(sampler, params, {0, 5, 5, 1}).token, 1);
}

// Draws follow the textbook distribution: every token's frequency within 5 standard deviations.
TEST(SamplerTest, DrawsFollowTheReferenceDistribution) {
  constexpr int kDraws = 20000;
  Sampler sampler;
  std::vector<SamplingParams> cases(8);
  cases[1].temperature = 0.5;
  cases[2].top_k = 4;
  cases[3].top_p = 0.7;
  cases[4].min_p = 0.2;
  cases[5].top_k = 10, cases[5].top_p = 0.8, cases[5].temperature = 1.5;
  cases[6].top_p = 1e-6;
  cases[7].min_p = 0.02, cases[7].top_k = 40, cases[7].top_p = 0.95;
  for (size_t c = 0; c < cases.size(); ++c) {
    const auto row = RandomRow(1000, c, 4);
    const auto want = ReferenceDistribution(row, cases[c]);
    std::map<int32_t, int> counts;
    for (int64_t i = 0; i < kDraws; ++i) {
      ++counts[DrawOnce(sampler, cases[c], row, {c, 0, i}).token];
    }
    for (size_t token = 0; token < row.size(); ++token) {
      const double expected = want[token] * kDraws;
      const int got = counts[static_cast<int32_t>(token)];
      EXPECT_NEAR(got, expected, 5 * std::sqrt(expected) + (expected > 0 ? 3 : 0))
          << "case " << c << " token " << token;
    }
  }
}

TEST(SamplerTest, TopKKeepsTiesWithTheKth) {
  Sampler sampler;
  SamplingParams params;
  params.top_k = 2;
  std::map<int32_t, int> counts;
  for (int64_t i = 0; i < 300; ++i) {
    ++counts[DrawOnce(sampler, params, {3, 2, 2, 1}, {1, 0, i}).token];
  }
  EXPECT_GT(counts[1], 0);
  EXPECT_GT(counts[2], 0);
  EXPECT_EQ(counts[3], 0);
}

TEST(SamplerTest, PenaltiesFollowVllmsFormulas) {
  Sampler sampler;
  SamplingParams params;
  params.temperature = 0;
  params.repetition_penalty = 2;
  TokenHistory history = TokenHistory::FromPrompt(std::vector<int32_t>{0, 1}, params);
  // Positive logits are divided, negative multiplied, prompt tokens included.
  EXPECT_EQ(DrawOnce(sampler, params, {4, -1, 2.5f, -1.5f}, {}, history).token, 2);
  EXPECT_EQ(DrawOnce(sampler, params, {-1, -1, -1.9f, -9}, {}, history).token, 2);

  params.repetition_penalty = 1;
  params.frequency_penalty = 1;
  history = TokenHistory::FromPrompt(std::vector<int32_t>{0}, params);
  history.Add(1);
  history.Add(1);
  EXPECT_EQ(DrawOnce(sampler, params, {0, 1.9f, -0.2f}, {}, history).token, 0);  // prompt: no
  EXPECT_EQ(DrawOnce(sampler, params, {-1, 2.1f, -0.2f}, {}, history).token, 1);
  params.frequency_penalty = 0;
  params.presence_penalty = 1;
  history = TokenHistory::FromPrompt(std::vector<int32_t>{0}, params);
  history.Add(1);
  history.Add(1);
  EXPECT_EQ(DrawOnce(sampler, params, {-3, 1.1f, 0}, {}, history).token, 1);  // once, not twice
  EXPECT_EQ(DrawOnce(sampler, params, {-3, 0.9f, 0}, {}, history).token, 2);
}

TEST(SamplerTest, BiasMasksAndMinTokens) {
  Sampler sampler;
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{2, 1000.0f}};  // clamped to 100
  EXPECT_EQ(DrawOnce(sampler, params, {50, 0, 0}).token, 2);
  EXPECT_EQ(DrawOnce(sampler, params, {101, 0, 0}).token, 0);
  params.logit_bias = {};
  params.allowed_token_ids = {{1, 2}};
  EXPECT_EQ(DrawOnce(sampler, params, {9, 1, 2}).token, 2);
  params.allowed_token_ids.reset();
  params.min_tokens = 2;
  EXPECT_EQ(DrawOnce(sampler, params, {9, 1, 2}, {}, {}, {0}, 1).token, 2);
  EXPECT_EQ(DrawOnce(sampler, params, {9, 1, 2}, {}, {}, {0}, 2).token, 0);
  const uint64_t mask = 0b010;
  const TokenHistory history;
  std::vector<float> row = {9, 1, 2};
  const DrawKey key;
  EXPECT_EQ(sampler.Draw({&params, &history, {}, 0, &mask}, row, {&key, 1})[0].token, 1);
}

TEST(SamplerTest, NothingAllowedOrNothingFiniteGivesNoToken) {
  Sampler sampler;
  SamplingParams params;
  params.allowed_token_ids = std::vector<int32_t>{};
  EXPECT_EQ(DrawOnce(sampler, params, {1, 2, 3}).token, -1);
  params.allowed_token_ids.reset();
  const float nan = std::nanf("");
  EXPECT_EQ(DrawOnce(sampler, params, {nan, nan}).token, -1);
  EXPECT_EQ(DrawOnce(sampler, params, {std::numeric_limits<float>::infinity(), 0}).token, -1);
  EXPECT_EQ(DrawOnce(sampler, params, {nan, 1}).token, 1);
}

TEST(SamplerTest, ScoresComeFromTheRawRow) {
  Sampler sampler;
  SamplingParams params;
  params.temperature = 0.1;
  params.top_k = 1;
  params.logit_bias = {{0, 50.0f}};
  params.logprobs = 2;
  const std::vector<float> row = {1, 3, 2};
  const auto sample = DrawOnce(sampler, params, row);
  const double lse = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0));
  ASSERT_TRUE(sample.scores.has_value());
  EXPECT_EQ(sample.token, 0);
  EXPECT_EQ(sample.scores->token.rank, 3);
  EXPECT_NEAR(sample.scores->token.logprob, 1 - lse, 1e-6);
  ASSERT_EQ(sample.scores->top.size(), 2u);
  EXPECT_EQ(sample.scores->top[0].token, 1);
  EXPECT_NEAR(sample.scores->top[1].logprob, 2 - lse, 1e-6);
}

TEST(SamplerTest, DrawsDependOnSeedChoiceAndPosition) {
  Sampler sampler;
  const SamplingParams params;
  const auto row = RandomRow(5000, 1, 0.1f);
  const DrawKey base{1, 0, 10};
  const int32_t token = DrawOnce(sampler, params, row, base).token;
  EXPECT_EQ(DrawOnce(sampler, params, row, base).token, token);
  EXPECT_NE(DrawOnce(sampler, params, row, {2, 0, 10}).token, token);
  EXPECT_NE(DrawOnce(sampler, params, row, {1, 1, 10}).token, token);
  EXPECT_NE(DrawOnce(sampler, params, row, {1, 0, 11}).token, token);
}

}  // namespace
}  // namespace octavo
