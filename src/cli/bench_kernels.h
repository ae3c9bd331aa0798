// SPDX-License-Identifier: Apache-2.0
// Which kernels `octavo bench kernels` measures, and its report.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

struct BenchKernelsOptions {
  std::vector<std::string> shapes = {"8960x1536", "1536x8960"};  // weights, N x K
  std::vector<int64_t> rows = {1, 8, 32, 512};
  std::string filter;       // part of "gemm/w8a8/gemm_w8a8_amx"; empty: all
  bool all_levels = false;  // every level the machine has, not only the one in use
  int rounds = 9;
  int64_t cold_mib = 512;  // memory that small batches walk over
};

// One kernel on one shape, ready to be measured.
struct KernelBench {
  std::string name;   // "gemm/w8a8/gemm_w8a8_amx", "attention/int8/attention_amx"
  std::string shape;  // "m 512 n 8960 k 1536", "heads 12 kv 2 dim 128, 8192 tokens, decode"
  std::function<Result<Json>()> run;  // {"us", "gop_s", "gb_s", "pct_peak", "pct_read"}
};

// The kernels that `options` ask for. Errors: a shape that is not N x K.
Result<std::vector<KernelBench>> PlanKernelBenches(const BenchKernelsOptions& options, IsaLevel isa);

// {"machine": {...}, "results": [{"kernel", "shape", "us", ...}]} as a table.
std::string KernelTable(const Json& report);

}  // namespace octavo
