// SPDX-License-Identifier: Apache-2.0
// The figures of `octavo bench serve`, with the field names of vLLM's `bench serve` results.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "cli/bench_serve_client.h"

namespace octavo {

// The p-th percentile (0..100) with linear interpolation, as NumPy's default; 0 of nothing.
double Percentile(std::vector<double> values, double p);

// completed, failed, duration, total_input_tokens, total_output_tokens, request_throughput,
// output_throughput, total_token_throughput, and for ttft, tpot, itl and e2el: mean_, median_, std_,
// p90_, p95_, p99_..._ms. TPOT is (latency - ttft) / (output tokens - 1).
Json BenchServeReport(const BenchRun& run);

// The same for people.
std::string FormatBenchServeReport(const Json& report);

}  // namespace octavo
