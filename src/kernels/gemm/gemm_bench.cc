// SPDX-License-Identifier: Apache-2.0
// Every kernel against the peaks of this machine, in one process and one thread.
//
// Neighbours take cores and DRAM at any moment, so absolute times mean little: each round runs a peak
// burst, the kernel, and a DRAM read burst next to each other, in thread CPU time; the reported
// percentages are medians of the rounds' ratios. Weights rotate over copies that exceed the caches.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu_features.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_test_util.h"
#include "kernels/roofline.h"

namespace octavo {
namespace {

double CpuSeconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

template <typename Fn>
double Timed(const Fn& fn) {
  const double start = CpuSeconds();
  fn();
  return CpuSeconds() - start;
}

double Median(std::vector<double> v) {
  std::ranges::nth_element(v, v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2));
  return v[v.size() / 2];
}

size_t ColdBytes() {
  const char* mib = std::getenv("OCTAVO_BENCH_COLD_MIB");
  return static_cast<size_t>(mib == nullptr ? 768 : std::atoi(mib)) << 20;
}

// The loop whose rate bounds a kernel: that of its level and activation format.
PeakLoop PeakFor(const GemmKernel& kernel, ActivationFormat format) {
  if (format == ActivationFormat::kF32) return PeakLoop::kF32;
  const bool amx = kernel.isa == IsaLevel::kAmx;
  if (format == ActivationFormat::kInt8) return amx ? PeakLoop::kAmxInt8 : PeakLoop::kInt8;
  if (amx) return PeakLoop::kAmxBf16;
  return kernel.isa == IsaLevel::kAvx512Bf16 ? PeakLoop::kBf16 : PeakLoop::kF32;
}

struct Case {
  const char* scheme;
  WeightSpec weight;
  ActivationFormat format;
};

std::vector<Case> Cases(int64_t n, int64_t k) {
  using enum ActivationFormat;
  return {
      {"f32", {CodeType::kF32, 32, ScaleLayout::kNone, 0, false, n, k}, kF32},
      {"bf16", {CodeType::kBf16, 16, ScaleLayout::kNone, 0, false, n, k}, kBf16},
      {"w8a8", {CodeType::kInt, 8, ScaleLayout::kChannel, 0, false, n, k}, kInt8},
      {"w4a8_two_level", {CodeType::kInt, 4, ScaleLayout::kTwoLevel, 128, false, n, k}, kInt8},
      {"w4a8_g128", {CodeType::kInt, 4, ScaleLayout::kGroup, 128, false, n, k}, kInt8},
      {"w4a8_g32", {CodeType::kInt, 4, ScaleLayout::kGroup, 32, false, n, k}, kInt8},
      {"w8a8_g32", {CodeType::kInt, 8, ScaleLayout::kGroup, 32, false, n, k}, kInt8},
      {"w4a16_g128", {CodeType::kInt, 4, ScaleLayout::kGroup, 128, false, n, k}, kBf16},
      {"w4a16_g32", {CodeType::kInt, 4, ScaleLayout::kGroup, 32, false, n, k}, kBf16},
      {"w8a16", {CodeType::kInt, 8, ScaleLayout::kChannel, 0, false, n, k}, kBf16},
      {"fp8", {CodeType::kE4M3, 8, ScaleLayout::kChannel, 0, false, n, k}, kBf16},
      {"fp8_block", {CodeType::kE4M3, 8, ScaleLayout::kGroup, 128, false, n, k}, kFp8Group128},
  };
}

// One kernel's weights, copied until they exceed the caches.
struct Bench {
  const GemmKernel& kernel;
  const Case& c;
  HugeBuffer memory;
  size_t copy_bytes = 0;
  int64_t panels = 0, copies = 0;
  ActivationBuffer x;
  HugeBuffer y;

  Bench(const GemmKernel& kernel_in, const Case& case_in, int64_t rows) : kernel(kernel_in), c(case_in) {
    const testing::Packed packed(kernel, c.weight, testing::RandomWeights(c.weight, 1));
    panels = packed.panels;
    copy_bytes = packed.memory.size();
    copies = rows > 64 ? 4 : std::max<int64_t>(1, static_cast<int64_t>(ColdBytes() / copy_bytes));
    auto allocated = HugeBuffer::Allocate(copy_bytes * static_cast<size_t>(copies));
    if (!allocated.ok()) std::exit(1);
    memory = std::move(*allocated);
    for (int64_t i = 0; i < copies; ++i) {
      std::memcpy(memory.data() + static_cast<size_t>(i) * copy_bytes, packed.memory.data(), copy_bytes);
    }
    ActivationSpec spec = RequiredActivation(c.weight, c.format);
    spec.tiles = kernel.reads_tiles;
    x = testing::RandomActivations(spec, rows, c.weight.k, 2);
    auto out = HugeBuffer::Allocate(static_cast<size_t>(rows * c.weight.n) * 4);
    if (!out.ok()) std::exit(1);
    y = std::move(*out);
  }

  void Run(int64_t copy) {
    GemmCall call;
    call.x = x.view();
    call.weight = &c.weight;
    call.packed = memory.data() + static_cast<size_t>(copy % copies) * copy_bytes;
    call.y = {reinterpret_cast<float*>(y.data()), c.weight.n, nullptr, false};
    kernel.run(call, 0, panels);
  }
};

void RunCase(benchmark::State& state, const GemmKernel* kernel, const Case* c, int64_t rows) {
  Bench bench(*kernel, *c, rows);
  const PeakLoop peak = PeakFor(*kernel, c->format);
  const double operations = 2.0 * static_cast<double>(rows * c->weight.n * c->weight.k);
  const size_t read_bytes = std::min<size_t>(bench.memory.size(), size_t{24} << 20) / 256 * 256;
  std::vector<double> of_peak, of_read, seconds;
  int64_t copy = 0;
  const double peak_probe = Timed([&] { RunPeakLoop(peak, 20000); });
  const auto peak_iterations = static_cast<int64_t>(20000 * 0.002 / peak_probe) + 1;
  bench.Run(copy++);
  for (auto _ : state) {
    double peak_ops = 0;
    const double peak_time = Timed([&] { peak_ops = RunPeakLoop(peak, peak_iterations); });
    int64_t calls = 0;
    double time = 0;
    while (time < 0.003) {
      time += Timed([&] { bench.Run(copy++); });
      ++calls;
    }
    const size_t offset = (static_cast<size_t>(copy) * bench.copy_bytes + bench.memory.size() / 2) %
                          (bench.memory.size() - read_bytes + 1) / 64 * 64;
    const double read_time = Timed([&] { ReadMemory(bench.memory.data() + offset, read_bytes); });
    time /= static_cast<double>(calls);
    of_peak.push_back(operations / time / (peak_ops / peak_time));
    of_read.push_back(static_cast<double>(bench.copy_bytes) / time /
                      (static_cast<double>(read_bytes) / read_time));
    seconds.push_back(time);
    state.SetIterationTime(time);
  }
  const double time = Median(seconds);
  state.counters["GOP/s"] = operations / time * 1e-9;
  state.counters["GB/s"] = static_cast<double>(bench.copy_bytes) / time * 1e-9;
  state.counters["%peak"] = 100 * Median(of_peak);
  state.counters["%peak_best"] = 100 * *std::ranges::max_element(of_peak);
  state.counters["%read"] = 100 * Median(of_read);
}

void RegisterAll() {
  static const std::vector<Case> cases = [] {
    std::vector<Case> all = Cases(8960, 1536);
    const std::vector<Case> tall = Cases(1536, 8960);
    all.insert(all.end(), tall.begin(), tall.end());
    return all;
  }();
  for (const Case& c : cases) {
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
