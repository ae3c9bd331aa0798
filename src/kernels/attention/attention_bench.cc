// SPDX-License-Identifier: Apache-2.0
// Attention against the peaks of this machine (kernels/speed_rounds.h says how). Decode walks over
// sequences whose pages exceed the caches.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <vector>

#include "base/cpu_features.h"
#include "kernels/attention/attention_kernel.h"
#include "kernels/attention_speed.h"

namespace octavo {
namespace {

constexpr size_t kColdBytes = size_t{1} << 30;
constexpr AttentionShape kShapes[] = {{12, 2, 128}, {9, 3, 64}, {8, 8, 128}};

void Report(benchmark::State& state, Result<AttentionSpeed> bench) {
  if (!bench.ok()) return state.SkipWithError(bench.status().ToString().c_str());
  std::vector<SpeedRound> rounds;
  for (auto _ : state) rounds.push_back(bench->Round());
  const KernelSpeed speed = Summarize(rounds);
  state.counters["GFLOPS"] = speed.gop_s;
  state.counters["GB/s"] = speed.gb_s;
  state.counters["%peak"] = speed.pct_peak;
  if (speed.pct_read > 0) state.counters["%read"] = speed.pct_read;
}

void Decode(benchmark::State& state, IsaLevel isa, KvDType dtype, AttentionShape shape) {
  Report(state, AttentionSpeed::Create(isa, dtype, shape, 8192, 1, kColdBytes));
}

void Prefill(benchmark::State& state, IsaLevel isa, KvDType dtype, AttentionShape shape, int64_t tokens) {
  Report(state, AttentionSpeed::Create(isa, dtype, shape, tokens, tokens, 1));
}

void RegisterAll() {
  for (int level = static_cast<int>(IsaLevel::kAvx2); level <= static_cast<int>(DetectedIsa()); ++level) {
    const auto isa = static_cast<IsaLevel>(level);
    const AttentionKernel& kernel = FindAttentionKernel(isa);
    if (kernel.isa != isa) continue;
    for (const AttentionShape& shape : kShapes) {
      for (size_t t = 0; t < std::size(kKvTypeNames); ++t) {
        const auto dtype = static_cast<KvDType>(t);
        const std::string name = fmt::format("{}/{}/h:{}/kv:{}/d:{}", kernel.name, kKvTypeNames[t],
                                             shape.num_heads, shape.num_kv_heads, shape.head_dim);
        benchmark::RegisterBenchmark(("BM_Decode/" + name + "/ctx:8192").c_str(), Decode, isa, dtype, shape)
            ->Iterations(9)->Unit(benchmark::kMillisecond);
        for (const int64_t tokens : {512, 2048}) {
          benchmark::RegisterBenchmark(fmt::format("BM_Prefill/{}/n:{}", name, tokens).c_str(), Prefill,
                                       isa, dtype, shape, tokens)
              ->Iterations(5)->Unit(benchmark::kMillisecond);
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  octavo::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
