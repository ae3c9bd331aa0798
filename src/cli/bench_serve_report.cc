// SPDX-License-Identifier: Apache-2.0
// Percentiles and throughputs of a run.
#include "cli/bench_serve_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace octavo {
namespace {

void AddSeries(Json& report, const std::string& name, const std::vector<double>& seconds) {
  const double count = static_cast<double>(std::max<size_t>(seconds.size(), 1));
  const double mean = std::accumulate(seconds.begin(), seconds.end(), 0.0) / count;
  double variance = 0;
  for (const double value : seconds) variance += (value - mean) * (value - mean) / count;
  report["mean_" + name + "_ms"] = mean * 1e3;
  report["median_" + name + "_ms"] = Percentile(seconds, 50) * 1e3;
  report["std_" + name + "_ms"] = std::sqrt(variance) * 1e3;
  for (const int p : {90, 95, 99}) {
    report[fmt::format("p{}_{}_ms", p, name)] = Percentile(seconds, p) * 1e3;
  }
}

}  // namespace

double Percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double rank = p / 100 * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(rank);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (rank - static_cast<double>(low));
}

Json BenchServeReport(const BenchRun& run) {
  std::vector<double> ttft;
  std::vector<double> tpot;
  std::vector<double> itl;
  std::vector<double> e2el;
  int64_t completed = 0;
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  Json errors = Json::array();
  for (const BenchOutcome& outcome : run.outcomes) {
    if (!outcome.ok) {
      if (errors.size() < 20) errors.push_back(outcome.error);
      continue;
    }
    ++completed;
    input_tokens += outcome.prompt_tokens;
    output_tokens += outcome.output_tokens;
    ttft.push_back(outcome.ttft_s);
    e2el.push_back(outcome.latency_s);
    itl.insert(itl.end(), outcome.itl_s.begin(), outcome.itl_s.end());
    if (outcome.output_tokens > 1) {
      tpot.push_back((outcome.latency_s - outcome.ttft_s) /
                     static_cast<double>(outcome.output_tokens - 1));
    }
  }
  const double duration = std::max(run.duration_s, 1e-9);
  Json report = {
      {"duration", run.duration_s},
      {"completed", completed},
      {"failed", static_cast<int64_t>(run.outcomes.size()) - completed},
      {"total_input_tokens", input_tokens},
      {"total_output_tokens", output_tokens},
      {"request_throughput", static_cast<double>(completed) / duration},
      {"output_throughput", static_cast<double>(output_tokens) / duration},
      {"total_token_throughput", static_cast<double>(input_tokens + output_tokens) / duration}};
  AddSeries(report, "ttft", ttft);
  AddSeries(report, "tpot", tpot);
  AddSeries(report, "itl", itl);
  AddSeries(report, "e2el", e2el);
  if (!errors.empty()) report["errors"] = std::move(errors);
  return report;
}

std::string FormatBenchServeReport(const Json& report) {
  const auto number = [&](const std::string& key) { return report[key].get<double>(); };
  std::string text = fmt::format(
      "requests      {:.0f} done, {:.0f} failed in {:.2f} s ({:.2f}/s)\n"
      "tokens        {:.0f} in, {:.0f} out\n"
      "throughput    {:.1f} tok/s out, {:.1f} tok/s in all\n"
      "              {:>9} {:>9} {:>9} {:>9}   (ms)\n",
      number("completed"), number("failed"), number("duration"), number("request_throughput"),
      number("total_input_tokens"), number("total_output_tokens"), number("output_throughput"),
      number("total_token_throughput"), "mean", "median", "p95", "p99");
  const std::pair<const char*, const char*> rows[] = {{"ttft", "first token"},
                                                      {"tpot", "per token"},
                                                      {"itl", "between"},
                                                      {"e2el", "whole"}};
  for (const auto& [key, label] : rows) {
    text += fmt::format("{:<13} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.2f}\n", label,
                        number(fmt::format("mean_{}_ms", key)),
                        number(fmt::format("median_{}_ms", key)),
                        number(fmt::format("p95_{}_ms", key)),
                        number(fmt::format("p99_{}_ms", key)));
  }
  if (report.contains("errors")) {
    text += fmt::format("first error   {}\n", report["errors"][0].get<std::string>());
  }
  return text;
}

}  // namespace octavo
