// SPDX-License-Identifier: Apache-2.0
// What the offline engine benchmarks share: engine flags, random prompts, warm-up.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "octavo/llm.h"

namespace octavo {

struct BenchEngineOptions {
  EngineOptions engine;
  int64_t input_len = 128;
  int64_t output_len = 128;
  int32_t n = 1;
  bool no_prefix_caching = false;
  std::string json;
};

// MODEL, the engine's flags by vLLM's names, --input-len, --output-len, --n, --seed and --json.
void AddBenchEngineOptions(CLI::App& app, BenchEngineOptions& options);

// Loads the model with a progress bar.
Result<std::unique_ptr<LLM>> CreateBenchEngine(const BenchEngineOptions& options);

// `count` prompts of random ordinary tokens, greedy, output_len tokens whatever the model says.
std::vector<GenerationRequest> RandomRequests(const LlmEngine& engine,
                                              const BenchEngineOptions& options, int64_t count);

// The model, the engine's settings and what the run did, for the JSON report.
Json DescribeRun(const LlmEngine& engine);

}  // namespace octavo
