// SPDX-License-Identifier: Apache-2.0
// `octavo bench throughput`: many requests at once, offline; vLLM's result fields.
#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "cli/bench_engine.h"
#include "cli/command.h"
#include "cli/progress_bar.h"
#include "cli/report.h"

namespace octavo {
namespace {

struct ThroughputOptions {
  BenchEngineOptions bench = {};
  int64_t num_prompts = 64;
};

Status RunThroughput(const ThroughputOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const auto llm, CreateBenchEngine(options.bench));
  LlmEngine& engine = llm->engine();
  auto requests = RandomRequests(engine, options.bench, options.num_prompts + 1);
  std::vector<GenerationRequest> warm_up;
  warm_up.push_back(std::move(requests.back()));
  requests.pop_back();
  warm_up.front().params.max_tokens = 2;
  llm->Generate(std::move(warm_up));
  engine.ResetStats();

  ProgressBar bar(
      {.label = "throughput", .unit = ProgressBar::Unit::kItems, .item_name = "requests"});
  const auto total = static_cast<uint64_t>(options.num_prompts);
  const auto begin = std::chrono::steady_clock::now();
  const auto results =
      llm->Generate(std::move(requests), [&](size_t done) { bar.Update(done, total); });
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  for (const GenerationResult& result : results) {
    if (!result.status.ok()) return result.status;
    prompt_tokens += result.usage.prompt_tokens;
    output_tokens += result.usage.completion_tokens;
  }
  const double seconds = elapsed.count();
  const double requests_s = static_cast<double>(options.num_prompts) / seconds;
  const double total_s = static_cast<double>(prompt_tokens + output_tokens) / seconds;
  const double output_s = static_cast<double>(output_tokens) / seconds;
  Json report = {{"elapsed_time", seconds},
                 {"num_requests", options.num_prompts},
                 {"total_num_tokens", prompt_tokens + output_tokens},
                 {"requests_per_second", requests_s},
                 {"tokens_per_second", total_s},
                 {"output_tokens_per_second", output_s}};
  report.update(DescribeRun(engine));
  if (!JsonOnStdout(options.bench.json)) {
    OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(
        fmt::format("Throughput: {:.2f} requests/s, {:.2f} total tokens/s, {:.2f} output tokens/s\n"
                    "Running sequences: {:.1f} on average over {} steps\n",
                    requests_s, total_s, output_s, engine.stats().mean_running_seqs,
                    engine.stats().num_steps)));
  }
  return WriteJsonReport(options.bench.json, report);
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<ThroughputOptions>();
  AddBenchEngineOptions(app, options->bench);
  app.add_option("--num-prompts", options->num_prompts, "Requests to run")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  return [options] { return RunThroughput(*options); };
}

}  // namespace

extern const Command kCommand_bench_throughput_command = {
    "bench throughput", CommandGroup::kMeasure, "Tokens per second of many requests at once",
    &Configure};

}  // namespace octavo
