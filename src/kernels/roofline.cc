// SPDX-License-Identifier: Apache-2.0
// Runs the peak loops on all threads and times them.
#include "kernels/roofline.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/roofline_loops.h"

namespace octavo {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The fastest of a few rounds in which every thread runs the loop once: neighbours only ever slow it.
double PeakOf(PeakLoop loop, IsaLevel isa, ThreadPool& pool) {
  constexpr double kRoundSeconds = 0.008;
  const double probe_start = Seconds();
  const double probe = RunPeakLoop(loop, 2000, isa);
  if (probe == 0) return 0;
  const double per_iteration = std::max(Seconds() - probe_start, 1e-7) / 2000;
  const auto iterations = static_cast<int64_t>(kRoundSeconds / per_iteration) + 1;
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    std::vector<double> operations(static_cast<size_t>(pool.num_threads()));
    const double start = Seconds();
    pool.ParallelFor(pool.num_threads(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        operations[static_cast<size_t>(i)] = RunPeakLoop(loop, iterations, isa);
      }
    });
    const double elapsed = Seconds() - start;
    double total = 0;
    for (double n : operations) total += n;
    best = std::max(best, total / elapsed * 1e-9);
  }
  return best;
}

double MeasureDram(ThreadPool& pool) {
  constexpr size_t kLine = 4096;
  size_t bytes = size_t{256} << 20;
  Result<HugeBuffer> buffer = HugeBuffer::Allocate(bytes);
  if (!buffer.ok()) return 0;
  const auto blocks = static_cast<int64_t>(bytes / kLine);
  std::byte* memory = buffer->data();
  pool.ParallelFor(blocks, 1, [&](int64_t begin, int64_t end, int) {
    std::memset(memory + begin * kLine, 1, static_cast<size_t>(end - begin) * kLine);
  });
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    const double start = Seconds();
    pool.ParallelFor(blocks, 1, [&](int64_t begin, int64_t end, int) {
      ReadMemory(memory + begin * kLine, static_cast<size_t>(end - begin) * kLine);
    });
    best = std::max(best, static_cast<double>(bytes) / (Seconds() - start) * 1e-9);
  }
  return best;
}

}  // namespace

double RunPeakLoop(PeakLoop loop, int64_t iterations, IsaLevel isa) {
  switch (loop) {
    case PeakLoop::kF32:
      if (isa >= IsaLevel::kAvx512) return PeakF32_avx512(iterations);
      return isa >= IsaLevel::kAvx2 ? PeakF32_avx2(iterations) : 0;
    case PeakLoop::kInt8:
      if (isa >= IsaLevel::kAvx512Vnni) return PeakInt8_avx512_vnni(iterations);
      return isa >= IsaLevel::kAvx2 ? PeakInt8_avx2(iterations) : 0;
    case PeakLoop::kBf16: return isa >= IsaLevel::kAvx512Bf16 ? PeakBf16_avx512_bf16(iterations) : 0;
    case PeakLoop::kAmxInt8: return isa >= IsaLevel::kAmx ? PeakInt8_amx(iterations) : 0;
    case PeakLoop::kAmxBf16: return isa >= IsaLevel::kAmx ? PeakBf16_amx(iterations) : 0;
  }
  return 0;
}

void ReadMemory(const void* memory, size_t bytes) {
  const IsaLevel isa = DetectedIsa();
  if (isa >= IsaLevel::kAvx512) return ReadMemory_avx512(memory, bytes);
  if (isa >= IsaLevel::kAvx2) return ReadMemory_avx2(memory, bytes);
  const auto* p = static_cast<const uint64_t*>(memory);
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes / 8; ++i) sum |= p[i];
  asm volatile("" ::"r"(sum));
}

Roofline MeasureRoofline(ThreadPool& pool, IsaLevel isa) {
  Roofline r;
  r.dram_gb_s = MeasureDram(pool);
  r.f32_gflops = PeakOf(PeakLoop::kF32, isa, pool);
  r.int8_gops = PeakOf(PeakLoop::kInt8, isa, pool);
  r.bf16_gflops = PeakOf(PeakLoop::kBf16, isa, pool);
  r.amx_int8_gops = PeakOf(PeakLoop::kAmxInt8, isa, pool);
  r.amx_bf16_gflops = PeakOf(PeakLoop::kAmxBf16, isa, pool);
  return r;
}

}  // namespace octavo
