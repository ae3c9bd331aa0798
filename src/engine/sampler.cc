// SPDX-License-Identifier: Apache-2.0
// The processors and the draw.
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "engine/logit_ops.h"

namespace octavo {
namespace {

// vLLM raises smaller positive temperatures to this, below which logits overflow.
constexpr double kMinTemperature = 0.01;

bool HasPenalties(const SamplingParams& p) {
  return p.presence_penalty != 0 || p.frequency_penalty != 0 || p.repetition_penalty != 1;
}

float& At(std::span<float> logits, int32_t token) { return logits[static_cast<size_t>(token)]; }

void MaskAllBut(std::span<float> logits, const uint64_t* allowed) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if ((allowed[i / 64] >> (i % 64) & 1) == 0) logits[i] = kMinusInfinity;
  }
}

void MaskAllBut(std::span<float> logits, std::span<const int32_t> allowed) {
  std::vector<std::pair<int32_t, float>> kept;
  for (const int32_t token : allowed) kept.emplace_back(token, At(logits, token));
  std::fill(logits.begin(), logits.end(), kMinusInfinity);
  for (const auto& [token, value] : kept) At(logits, token) = value;
}

void Penalize(const SamplingParams& params, const TokenHistory& history, std::span<float> logits) {
  const auto repetition = static_cast<float>(params.repetition_penalty);
  const auto frequency = static_cast<float>(params.frequency_penalty);
  const auto presence = static_cast<float>(params.presence_penalty);
  for (const auto& [token, count] : history.counts()) {
    float& logit = At(logits, token);
    logit = logit > 0 ? logit / repetition : logit * repetition;
    logit -= frequency * static_cast<float>(count);
    if (count > 0) logit -= presence;
  }
}

}  // namespace

TokenHistory TokenHistory::FromPrompt(std::span<const int32_t> prompt,
                                      const SamplingParams& params) {
  TokenHistory history;
  history.active_ = HasPenalties(params);
  if (!history.active_) return history;
  for (const int32_t token : prompt) history.counts_.try_emplace(token, 0);
  return history;
}

void TokenHistory::Add(int32_t token) {
  if (active_) ++counts_[token];
}

double Sampler::LogSumExp(std::span<const float> logits) const {
  const float max = ArgMax(logits).value;
  return static_cast<double>(max) + std::log(SumExp(logits, max));
}

std::vector<PositionScores::Entry> Sampler::Top(std::span<const float> logits, int32_t count) {
  std::vector<PositionScores::Entry> entries;
  const double lse = LogSumExp(logits);
  for (const int32_t token : TopIndices(logits, count, scratch_)) {
    const auto logit = static_cast<double>(logits[static_cast<size_t>(token)]);
    entries.push_back(
        {token, static_cast<float>(logit - lse), static_cast<int32_t>(entries.size()) + 1});
  }
  return entries;
}

PositionScores Sampler::Score(std::span<const float> logits, int32_t token, int32_t num_top) {
  const float logit = logits[static_cast<size_t>(token)];
  PositionScores scores;
  scores.token = {token, static_cast<float>(static_cast<double>(logit) - LogSumExp(logits)),
                  static_cast<int32_t>(CountGreater(logits, logit)) + 1};
  if (num_top > 0) scores.top = Top(logits, num_top);
  return scores;
}

// Step 2 of the order in octavo/sampling_params.h.
void Sampler::Process(const SampleInput& input, std::span<float> logits) const {
  const SamplingParams& params = *input.params;
  if (input.allowed_mask != nullptr) MaskAllBut(logits, input.allowed_mask);
  if (params.allowed_token_ids) MaskAllBut(logits, *params.allowed_token_ids);
  if (input.num_output < params.min_tokens) {
    for (const int32_t token : input.end_tokens) At(logits, token) = kMinusInfinity;
  }
  for (const auto& [token, bias] : params.logit_bias) {
    At(logits, token) += std::clamp(bias, -100.0f, 100.0f);
  }
  if (input.history->active()) Penalize(params, *input.history, logits);
}

// Steps of a random draw: temperature, min_p, top_k, top_p. Leaves the distribution in max_, kept_,
// weights_, total_.
void Sampler::Weigh(const SamplingParams& params, std::span<float> logits) {
  const auto temperature = static_cast<float>(std::max(params.temperature, kMinTemperature));
  if (temperature != 1.0f) {
    for (float& x : logits) x /= temperature;
  }
  max_ = ArgMax(logits).value;
  float cut = kMinusInfinity;
  if (params.min_p > 0) cut = max_ + static_cast<float>(std::log(params.min_p));
  const auto size = static_cast<int64_t>(logits.size());
  if (params.top_k > 0 && params.top_k < size) {
    cut = std::max(cut, KthLargest(logits, params.top_k, scratch_));
  }
  whole_row_ = cut == kMinusInfinity && params.top_p >= 1;
  total_ = whole_row_ || params.top_p < 1 ? SumExp(logits, max_, cut) : 0;
  if (whole_row_) return;

  // Tokens lighter than this sum to less than (1 - top_p): none of them survives top_p.
  const double lightest = (1 - params.top_p) * total_ / static_cast<double>(size);
  const float tail = lightest > 0 ? max_ + static_cast<float>(std::log(lightest)) - 1e-3f : cut;
  IndicesAtLeast(logits, std::max(cut, tail), kept_);
  if (params.top_p < 1) {
    std::sort(kept_.begin(), kept_.end(), [&](int32_t a, int32_t b) {
      const float va = At(logits, a);
      const float vb = At(logits, b);
      return va != vb ? va > vb : a < b;
    });
  }
  weights_.clear();
  double sum = 0;
  for (const int32_t token : kept_) {
    if (params.top_p < 1 && !weights_.empty() && sum >= params.top_p * total_) break;
    weights_.push_back(static_cast<double>(ExpNegative(At(logits, token) - max_)));
    sum += weights_.back();
  }
  total_ = sum;
}

int32_t Sampler::DrawOne(std::span<const float> logits, double uniform) const {
  const double target = uniform * total_;
  if (whole_row_) return IndexAtWeight(logits, max_, target);
  double sum = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    sum += weights_[i];
    if (sum > target) return kept_[i];
  }
  size_t last = weights_.size() - 1;  // rounding left nothing: the last token of nonzero weight
  while (last > 0 && weights_[last] == 0) --last;
  return kept_[last];
}

std::vector<Sample> Sampler::Draw(const SampleInput& input, std::span<float> logits,
                                  std::span<const DrawKey> keys) {
  const SamplingParams& params = *input.params;
  std::vector<Sample> samples(keys.size());
  if (params.logprobs) row_.assign(logits.begin(), logits.end());
  Process(input, logits);
  const MaxLogit best = ArgMax(logits);
  if (!std::isfinite(best.value)) return samples;
  const bool greedy = params.temperature < kGreedyTemperature;
  if (!greedy) Weigh(params, logits);
  for (size_t i = 0; i < keys.size(); ++i) {
    samples[i].token = greedy ? best.index : DrawOne(logits, UniformDraw(keys[i]));
    if (params.logprobs) samples[i].scores = Score(row_, samples[i].token, *params.logprobs);
  }
  return samples;
}

}  // namespace octavo
