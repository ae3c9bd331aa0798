// SPDX-License-Identifier: Apache-2.0
// What `generate` and `chat` share: engine set-up, sampling options, and one request from start to end.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "octavo/engine.h"
#include "octavo/status.h"

namespace octavo {

struct GenerationOptions {
  ModelOptions model = {};
  int64_t max_model_len = 0;
  int64_t max_tokens = 0;
  double temperature = 0;
  double top_p = 1;
  int64_t top_k = 0;
  uint64_t seed = 0;
};

// Adds the model options and --max-model-len, --max-tokens, --temperature, --top-p,
// --top-k and --seed. The values in `options` are the defaults that --help shows.
void AddGenerationOptions(CLI::App& app, GenerationOptions& options);

// An engine for one request at a time, loaded with a progress bar when that takes long. With --dtype
// float32 the KV cache is f32 too, unless --kv-cache-dtype says otherwise.
Result<std::unique_ptr<LlmEngine>> CreateEngine(const GenerationOptions& options);

SamplingParams MakeSamplingParams(const GenerationOptions& options);

// A finished (or interrupted) request.
struct Answer {
  std::vector<int32_t> token_ids;
  std::string text;
  FinishReason finish_reason = FinishReason::kStop;
  Usage usage;
  RequestTimings timings;
  // Tokens per second; 0 where there is nothing to divide (a single token has no decode time).
  double prefill_tok_s() const;
  double decode_tok_s() const;
};

// Runs the request; `on_text` gets each piece of text as it comes, on another thread. Ctrl-C ends the
// request early: finish_reason is then kAbort, and the text so far is kept.
Result<Answer> RunRequest(LlmEngine& engine, GenerationRequest request,
                          const InterruptScope& interrupt,
                          const std::function<void(std::string_view)>& on_text);

// "64 tokens at 120.3 tok/s; prompt of 12 tokens at 2204.2 tok/s; first token after 6 ms; peak memory
// 182.4 MiB"
std::string Summary(const Answer& answer);

}  // namespace octavo
