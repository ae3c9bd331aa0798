// SPDX-License-Identifier: Apache-2.0
// Every GEMM kernel against the peaks of this machine (kernels/speed_rounds.h says how).
// OCTAVO_BENCH_COLD_MIB sets how much memory the weights of small batches rotate over.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <vector>

#include "base/cpu_features.h"
#include "kernels/gemm_speed.h"

namespace octavo {
namespace {

size_t ColdBytes() {
  const char* mib = std::getenv("OCTAVO_BENCH_COLD_MIB");
  return static_cast<size_t>(mib == nullptr ? 768 : std::atoi(mib)) << 20;
}

void RunCase(benchmark::State& state, const GemmKernel* kernel, const GemmSpeedCase* c, int64_t rows) {
  Result<GemmSpeed> bench = GemmSpeed::Create(*kernel, *c, rows, ColdBytes());
  if (!bench.ok()) return state.SkipWithError(bench.status().ToString().c_str());
  std::vector<SpeedRound> rounds;
  for (auto _ : state) {
    rounds.push_back(bench->Round());
    state.SetIterationTime(rounds.back().seconds);
  }
  const KernelSpeed speed = Summarize(rounds);
  state.counters["GOP/s"] = speed.gop_s;
  state.counters["GB/s"] = speed.gb_s;
  state.counters["%peak"] = speed.pct_peak;
  state.counters["%peak_best"] = speed.best_pct_peak;
  state.counters["%read"] = speed.pct_read;
}

void RegisterAll() {
  static const std::vector<GemmSpeedCase> cases = [] {
    std::vector<GemmSpeedCase> all = GemmSpeedCases(8960, 1536);
    const std::vector<GemmSpeedCase> tall = GemmSpeedCases(1536, 8960);
    all.insert(all.end(), tall.begin(), tall.end());
    return all;
  }();
  for (const GemmSpeedCase& c : cases) {
    for (const GemmKernel* kernel : AllGemmKernels()) {
      if (kernel->isa > DetectedIsa() || kernel->isa == IsaLevel::kReference) continue;
      if (!kernel->accepts(c.weight, c.format)) continue;
      for (int64_t rows : {1, 2, 4, 8, 16, 32, 128, 512}) {
        const std::string name = fmt::format("BM_Gemm/{}/{}/m:{}/n:{}/k:{}", c.scheme, kernel->name, rows,
                                             c.weight.n, c.weight.k);
        benchmark::RegisterBenchmark(name.c_str(), RunCase, kernel, &c, rows)
            ->UseManualTime()
            ->Iterations(15)
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
