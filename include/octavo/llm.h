// SPDX-License-Identifier: Apache-2.0
// LLM: offline batches on top of LlmEngine; submit everything, wait, get whole results in order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "octavo/engine.h"

namespace octavo {

// A finished choice.
struct CompletionOutput {
  int32_t index = 0;
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<PositionLogprobs> logprobs;
  FinishReason finish_reason = FinishReason::kStop;
  std::optional<int32_t> stop_token_id;
  std::string stop_string;
  double cumulative_logprob = 0;
};

// Everything a request produced.
struct GenerationResult {
  std::vector<CompletionOutput> choices;  // by index
  std::vector<std::optional<PositionLogprobs>> prompt_logprobs;
  std::vector<float> embedding;
  Usage usage;
  RequestTimings timings;
  Status status;  // of this request; others are not affected
};

// Collects the deltas of one request into a GenerationResult.
class OutputCollector {
 public:
  // True once the request is finished.
  bool Add(RequestOutput output);
  GenerationResult Take() && { return std::move(result_); }

 private:
  GenerationResult result_;
};

class LLM {
 public:
  static Result<std::unique_ptr<LLM>> Create(
      const EngineOptions& options, std::function<void(const LoadProgress&)> progress = {});

  // Runs all requests, as many at once as the engine takes, and returns one result per request in
  // the same order. A request that is refused or fails has its reason in `status`. `on_finished`
  // (optional) is told the number of finished requests, on the output thread.
  std::vector<GenerationResult> Generate(std::vector<GenerationRequest> requests,
                                         const std::function<void(size_t)>& on_finished = {});

  // The same prompt texts with the same parameters.
  std::vector<GenerationResult> Generate(std::span<const std::string> prompts,
                                         const SamplingParams& params);

  LlmEngine& engine() { return *engine_; }

 private:
  explicit LLM(std::unique_ptr<LlmEngine> engine) : engine_(std::move(engine)) {}
  std::unique_ptr<LlmEngine> engine_;
};

}  // namespace octavo
