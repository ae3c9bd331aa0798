// SPDX-License-Identifier: Apache-2.0
// Attention against the peaks of this machine, in one process and one thread.
//
// Each round runs a DRAM read burst, a peak loop and the kernel next to each other in thread CPU time;
// percentages are medians of the rounds' ratios, because neighbours disturb absolute times. Decode
// walks over sequences whose pages exceed the caches. The CPU's peak is the best loop for bf16 (f32 for
// f32 pages) that the level may use.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu_features.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/attention_kernel.h"
#include "kernels/roofline.h"

namespace octavo {
namespace {

constexpr const char* kTypeNames[] = {"f32", "bf16", "fp8_e4m3", "fp8_e5m2", "int8", "int4"};
constexpr size_t kColdBytes = size_t{1} << 30;
constexpr size_t kBurstBytes = size_t{64} << 20;

struct Shape {
  int num_heads, num_kv_heads, head_dim;
};
constexpr Shape kShapes[] = {{12, 2, 128}, {9, 3, 64}, {8, 8, 128}};

template <typename Fn>
double Timed(const Fn& fn) {
  const auto now = [] {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  const double start = now();
  fn();
  return now() - start;
}

double Median(std::vector<double> v) {
  std::ranges::nth_element(v, v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2));
  return v[v.size() / 2];
}

// Operations per second of the fastest loop that the level has for the page type.
double PeakRate(IsaLevel isa, KvDType dtype) {
  const auto rate = [](PeakLoop loop) {
    double operations = 0;
    const double seconds = Timed([&] { operations = RunPeakLoop(loop, 200000); });
    return operations / seconds;
  };
  double best = rate(PeakLoop::kF32);
  if (dtype != KvDType::kF32 && isa >= IsaLevel::kAvx512Bf16) {
    best = std::max(best, rate(PeakLoop::kBf16));
  }
  if (dtype != KvDType::kF32 && isa >= IsaLevel::kAmx) best = std::max(best, rate(PeakLoop::kAmxBf16));
  return best;
}

// Pages for as many sequences of `context` tokens as fill the memory, and one token or prompt of q.
class Bench {
 public:
  Bench(IsaLevel isa, KvDType dtype, const Shape& shape, int64_t context, int64_t rows, size_t bytes)
      : isa_(isa), shape_(shape), context_(context), rows_(rows), pool_(1) {
    layout_ = {dtype, shape.num_kv_heads, shape.head_dim, 32};
    sequence_bytes_ = static_cast<size_t>(context / 32) * layout_.page_bytes();
    sequences_ = std::max<int64_t>(1, static_cast<int64_t>(bytes / sequence_bytes_));
    auto memory = HugeBuffer::Allocate(sequence_bytes_ * static_cast<size_t>(sequences_));
    if (!memory.ok()) std::exit(1);
    memory_ = std::move(*memory);
    std::memset(memory_.data(), 0x11, memory_.size());  // small finite numbers in every type
    table_.resize(static_cast<size_t>(sequences_ * context / 32));
    std::iota(table_.begin(), table_.end(), 0);
    q_.assign(static_cast<size_t>(rows * width()), 0.125f);
    out_.resize(q_.size());
  }

  // The last `rows` tokens of a sequence attend.
  void Run(int64_t sequence) {
    const SequenceSlice slice{
        .row_begin = 0, .num_tokens = rows_, .position = context_ - rows_,
        .block_table = &table_[static_cast<size_t>(sequence % sequences_ * context_ / 32)]};
    Attend(layout_, {.base = memory_.data(), .block_stride = layout_.page_bytes()},
           {.num_heads = shape_.num_heads, .softmax_scale = 0.1f},
           {.sequences = {&slice, 1}, .q = q_.data(), .q_stride = width(), .out = out_.data(),
            .out_stride = width()},
           isa_, pool_);
  }

  // Multiplies and adds of q.k and p.v over visible tokens.
  double operations() const {
    const double visible =
        static_cast<double>(rows_) * (static_cast<double>(context_) - static_cast<double>(rows_ - 1) / 2);
    return 4.0 * visible * static_cast<double>(width());
  }
  int64_t width() const { return int64_t{shape_.num_heads} * shape_.head_dim; }
  size_t sequence_bytes() const { return sequence_bytes_; }
  const std::byte* memory() const { return memory_.data(); }
  size_t memory_bytes() const { return memory_.size(); }

 private:
  IsaLevel isa_;
  Shape shape_;
  int64_t context_, rows_;
  ThreadPool pool_;
  KvLayout layout_;
  size_t sequence_bytes_ = 0;
  int64_t sequences_ = 0;
  HugeBuffer memory_;
  std::vector<int32_t> table_;
  std::vector<float> q_, out_;
};

void Decode(benchmark::State& state, IsaLevel isa, KvDType dtype, Shape shape) {
  Bench bench(isa, dtype, shape, 8192, 1, kColdBytes);
  const auto per_round =
      std::max<int64_t>(1, static_cast<int64_t>(kBurstBytes / bench.sequence_bytes()));
  std::vector<double> gb_s, of_read, of_peak;
  int64_t sequence = 0;
  for (auto _ : state) {
    const size_t at = static_cast<size_t>(sequence) * bench.sequence_bytes() %
                      (bench.memory_bytes() - kBurstBytes) / 64 * 64;
    const double read =
        static_cast<double>(kBurstBytes) / Timed([&] { ReadMemory(bench.memory() + at, kBurstBytes); });
    const double seconds = Timed([&] {
      for (int64_t i = 0; i < per_round; ++i) bench.Run(sequence++);
    }) / static_cast<double>(per_round);
    const double rate = static_cast<double>(bench.sequence_bytes()) / seconds;
    gb_s.push_back(rate * 1e-9);
    of_read.push_back(100 * rate / read);
    of_peak.push_back(100 * bench.operations() / seconds / PeakRate(isa, dtype));
  }
  state.counters["GB/s"] = Median(gb_s);
  state.counters["%read"] = Median(of_read);
  state.counters["%peak"] = Median(of_peak);
}

void Prefill(benchmark::State& state, IsaLevel isa, KvDType dtype, Shape shape, int64_t tokens) {
  Bench bench(isa, dtype, shape, tokens, tokens, 1);
  std::vector<double> gflops, of_peak;
  for (auto _ : state) {
    const double rate = bench.operations() / Timed([&] { bench.Run(0); });
    gflops.push_back(rate * 1e-9);
    of_peak.push_back(100 * rate / PeakRate(isa, dtype));
  }
  state.counters["GFLOPS"] = Median(gflops);
  state.counters["%peak"] = Median(of_peak);
}

void RegisterAll() {
  for (int level = static_cast<int>(IsaLevel::kAvx2); level <= static_cast<int>(DetectedIsa()); ++level) {
    const auto isa = static_cast<IsaLevel>(level);
    const AttentionKernel& kernel = FindAttentionKernel(isa);
    if (kernel.isa != isa) continue;
    for (const Shape& shape : kShapes) {
      for (size_t t = 0; t < std::size(kTypeNames); ++t) {
        const auto dtype = static_cast<KvDType>(t);
        const std::string name = fmt::format("{}/{}/h:{}/kv:{}/d:{}", kernel.name, kTypeNames[t],
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
