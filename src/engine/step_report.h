// SPDX-License-Identifier: Apache-2.0
// What a step produced, as numbers: the step thread hands it to the output thread, which makes
// texts.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/sampler.h"
#include "octavo/request_output.h"

namespace octavo {

using SteadyTime = std::chrono::steady_clock::time_point;

// New tokens of one choice, or its end, or both.
struct ChoiceUpdate {
  RequestId request_id = 0;
  int32_t index = 0;
  std::vector<int32_t> tokens;
  std::vector<PositionScores> scores;  // per token, when asked for
  std::optional<FinishReason> finish_reason;
  std::optional<int32_t> stop_token_id;
  std::optional<double> cumulative_logprob;  // beam search only
  Status status;                             // with kError
};

// A request entered its first step, or its prompt is through.
struct PromptUpdate {
  RequestId request_id = 0;
  bool scheduled = false;  // first_time: now counts as the end of the queue time
  int64_t num_cached = 0;
  std::vector<PositionScores> scores;  // of prompt positions 1.., when complete and asked for
  std::vector<float> embedding;
};

struct StepReport {
  SteadyTime begin;
  SteadyTime end;
  std::vector<PromptUpdate> prompts;
  std::vector<ChoiceUpdate> choices;

  // For statistics.
  int64_t num_tokens = 0;
  int64_t num_prompt_tokens = 0;
  int64_t num_generated = 0;
  int64_t num_running = 0;
  int64_t prefix_queries = 0;
  int64_t prefix_hits = 0;
  int32_t num_preempted = 0;
  int64_t num_drafts = 0;
  int64_t num_accepted_drafts = 0;
};

}  // namespace octavo
