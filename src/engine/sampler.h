// SPDX-License-Identifier: Apache-2.0
// Turns a row of logits into a token: vLLM V1's chain of processors, then one counter-based draw.
//
// A result is a pure function of the row, the parameters, the tokens so far and the draw key.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/philox.h"
#include "octavo/request_output.h"
#include "octavo/sampling_params.h"

namespace octavo {

// Which tokens a sequence holds, as penalties count them. Empty when no penalty is on.
class TokenHistory {
 public:
  // Starts from the prompt.
  static TokenHistory FromPrompt(std::span<const int32_t> prompt, const SamplingParams& params);

  void Add(int32_t token);

  bool active() const { return active_; }
  // Occurrences in the output; tokens of the prompt are there with 0.
  const std::unordered_map<int32_t, int32_t>& counts() const { return counts_; }

 private:
  bool active_ = false;
  std::unordered_map<int32_t, int32_t> counts_;
};

// Log-probabilities of one position as numbers; texts are added on the output thread.
struct PositionScores {
  struct Entry {
    int32_t token = 0;
    float logprob = 0;
    int32_t rank = 0;
  };
  Entry token;
  std::vector<Entry> top;
};

struct SampleInput {
  const SamplingParams* params = nullptr;
  const TokenHistory* history = nullptr;
  std::span<const int32_t> end_tokens;  // forbidden while num_output < min_tokens
  int64_t num_output = 0;
  const uint64_t* allowed_mask = nullptr;  // bit i: token i is allowed; null: all are
};

struct Sample {
  int32_t token = -1;  // -1: no token is allowed, or the row has no finite logit
  std::optional<PositionScores> scores;
};

// Scratch memory of one thread.
class Sampler {
 public:
  // Chooses a token for each key (the choices of a request share their first row). May overwrite
  // the row.
  std::vector<Sample> Draw(const SampleInput& input, std::span<float> logits,
                           std::span<const DrawKey> keys);

  // Scores of `token` and the `num_top` most likely ones under the raw row.
  PositionScores Score(std::span<const float> logits, int32_t token, int32_t num_top);

  // The `count` most likely tokens with their log-probabilities, best first.
  std::vector<PositionScores::Entry> Top(std::span<const float> logits, int32_t count);

 private:
  double LogSumExp(std::span<const float> logits) const;
  void Process(const SampleInput& input, std::span<float> logits) const;
  void Weigh(const SamplingParams& params, std::span<float> logits);
  int32_t DrawOne(std::span<const float> logits, double uniform) const;

  std::vector<float> row_;  // copy of the raw row, when scores are needed after processing
  std::vector<float> scratch_;
  // The distribution of the current row: either `kept_` with `weights_`, or the whole row.
  float max_ = 0;
  bool whole_row_ = false;
  double total_ = 0;
  std::vector<int32_t> kept_;
  std::vector<double> weights_;
};

// Temperatures below this are greedy (vLLM's _SAMPLING_EPS).
inline constexpr double kGreedyTemperature = 1e-5;

}  // namespace octavo
