// SPDX-License-Identifier: Apache-2.0
// `octavo bench latency`: one batch over and over, offline; vLLM's result fields.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>

#include "cli/bench_engine.h"
#include "cli/command.h"
#include "cli/report.h"

namespace octavo {
namespace {

struct LatencyOptions {
  BenchEngineOptions bench = {};
  int64_t batch_size = 8;
  int64_t num_iters = 5;
  int64_t num_iters_warmup = 1;
};

// Linear interpolation between the two nearest ranks, as numpy does.
double Percentile(const std::vector<double>& sorted, double percent) {
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(rank);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (rank - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

Status RunLatency(const LatencyOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const auto llm, CreateBenchEngine(options.bench));
  const auto requests = RandomRequests(llm->engine(), options.bench, options.batch_size);
  std::vector<double> latencies;
  double first_token_s = 0;
  for (int64_t i = 0; i < options.num_iters_warmup + options.num_iters; ++i) {
    llm->engine().ResetPrefixCache();
    const auto begin = std::chrono::steady_clock::now();
    const auto results = llm->Generate(requests);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    for (const GenerationResult& result : results) OCTAVO_RETURN_IF_ERROR(result.status);
    if (i < options.num_iters_warmup) continue;
    latencies.push_back(elapsed.count());
    first_token_s += results.front().timings.first_token_s;
  }
  const double sum = std::accumulate(latencies.begin(), latencies.end(), 0.0);
  const double mean = sum / static_cast<double>(latencies.size());
  std::vector<double> sorted = latencies;
  std::sort(sorted.begin(), sorted.end());
  Json percentiles = Json::object();
  for (const int p : {10, 25, 50, 75, 90, 99})
    percentiles[std::to_string(p)] = Percentile(sorted, p);
  Json report = {{"avg_latency", mean},
                 {"latencies", latencies},
                 {"percentiles", percentiles},
                 {"avg_first_token_latency", first_token_s / static_cast<double>(latencies.size())},
                 {"batch_size", options.batch_size}};
  report.update(DescribeRun(llm->engine()));
  if (!JsonOnStdout(options.bench.json)) {
    OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(fmt::format(
        "Avg latency: {:.4f} s for {} requests of {} + {} tokens\n50 % percentile: {:.4f} s\n"
        "99 % percentile: {:.4f} s\n",
        mean, options.batch_size, options.bench.input_len, options.bench.output_len,
        Percentile(sorted, 50), Percentile(sorted, 99))));
  }
  return WriteJsonReport(options.bench.json, report);
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<LatencyOptions>();
  AddBenchEngineOptions(app, options->bench);
  const auto add = [&app](const char* flag, int64_t& target, int least, const char* help) {
    app.add_option(flag, target, help)->capture_default_str()->check(CLI::Range(least, 1'000'000));
  };
  add("--batch-size", options->batch_size, 1, "Requests per batch");
  add("--num-iters", options->num_iters, 1, "Measured batches");
  add("--num-iters-warmup", options->num_iters_warmup, 0, "Batches before them");
  return [options] { return RunLatency(*options); };
}

}  // namespace

extern const Command kCommand_bench_latency_command = {"bench latency", CommandGroup::kMeasure,
                                                       "Time of one batch of requests", &Configure};

}  // namespace octavo
