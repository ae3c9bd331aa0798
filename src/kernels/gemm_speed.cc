// SPDX-License-Identifier: Apache-2.0
// Synthetic weights in a kernel's layout, and bursts of its product between bursts of the limits.
#include "kernels/gemm_speed.h"

#include <cstring>

#include "kernels/gemm/gemm_test_util.h"
#include "kernels/roofline.h"

namespace octavo {
namespace {

constexpr double kBurstSeconds = 0.003;
constexpr size_t kReadBytes = size_t{24} << 20;

// The loop whose rate bounds a kernel: that of its level and activation format.
PeakLoop PeakFor(const GemmKernel& kernel, ActivationFormat format) {
  if (format == ActivationFormat::kF32) return PeakLoop::kF32;
  const bool amx = kernel.isa == IsaLevel::kAmx;
  if (IsInt8(format)) return amx ? PeakLoop::kAmxInt8 : PeakLoop::kInt8;
  if (amx) return PeakLoop::kAmxBf16;
  return kernel.isa == IsaLevel::kAvx512Bf16 ? PeakLoop::kBf16 : PeakLoop::kF32;
}

}  // namespace

std::vector<GemmSpeedCase> GemmSpeedCases(int64_t n, int64_t k) {
  using enum ActivationFormat;
  return {
      {"f32", {CodeType::kF32, 32, ScaleLayout::kNone, 0, false, n, k}, kF32},
      {"bf16", {CodeType::kBf16, 16, ScaleLayout::kNone, 0, false, n, k}, kBf16},
      {"w8a8", {CodeType::kInt, 8, ScaleLayout::kChannel, 0, false, n, k}, kInt8},
      {"w4a8_two_level", {CodeType::kInt, 4, ScaleLayout::kTwoLevel, 128, false, n, k}, kInt8},
      {"w4a8_g128", {CodeType::kInt, 4, ScaleLayout::kGroup, 128, false, n, k}, kInt8},
      {"w4a8_g32", {CodeType::kInt, 4, ScaleLayout::kGroup, 32, false, n, k}, kInt8},
      {"w8a8_g32", {CodeType::kInt, 8, ScaleLayout::kGroup, 32, false, n, k}, kInt8},
      {"q4_0", {CodeType::kInt, 4, ScaleLayout::kGroup, 32, false, n, k, ScaleType::kF16}, kInt8Group32},
      {"q8_0", {CodeType::kInt, 8, ScaleLayout::kGroup, 32, false, n, k, ScaleType::kF16}, kInt8Group32},
      {"w4a16_g128", {CodeType::kInt, 4, ScaleLayout::kGroup, 128, false, n, k}, kBf16},
      {"w4a16_g32", {CodeType::kInt, 4, ScaleLayout::kGroup, 32, false, n, k}, kBf16},
      {"w8a16", {CodeType::kInt, 8, ScaleLayout::kChannel, 0, false, n, k}, kBf16},
      {"fp8", {CodeType::kE4M3, 8, ScaleLayout::kChannel, 0, false, n, k}, kBf16},
      {"fp8_block", {CodeType::kE4M3, 8, ScaleLayout::kGroup, 128, false, n, k}, kFp8Group128},
  };
}

Result<GemmSpeed> GemmSpeed::Create(const GemmKernel& kernel, const GemmSpeedCase& c, int64_t rows,
                                    size_t cold_bytes) {
  GemmSpeed speed(kernel, c);
  {
    const testing::Packed packed(kernel, c.weight, testing::RandomWeights(c.weight, 1));
    speed.panels_ = packed.panels;
    speed.copy_bytes_ = packed.memory.size();
    speed.copies_ = rows > 64 ? 4 : std::max<int64_t>(1, static_cast<int64_t>(cold_bytes / speed.copy_bytes_));
    const size_t bytes = speed.copy_bytes_ * static_cast<size_t>(speed.copies_);
    OCTAVO_ASSIGN_OR_RETURN(speed.weights_, HugeBuffer::Allocate(bytes));
    for (size_t at = 0; at < bytes; at += speed.copy_bytes_) {
      std::memcpy(speed.weights_.data() + at, packed.memory.data(), speed.copy_bytes_);
    }
  }
  ActivationSpec spec = RequiredActivation(c.weight, c.format);
  spec.tiles = kernel.reads_tiles;
  speed.x_ = testing::RandomActivations(spec, rows, c.weight.k, 2);
  OCTAVO_ASSIGN_OR_RETURN(speed.out_, HugeBuffer::Allocate(static_cast<size_t>(rows * c.weight.n) * 4));
  constexpr int64_t kProbe = 20000;
  const double probe = ThreadSeconds([&] { RunPeakLoop(PeakFor(kernel, c.format), kProbe); });
  speed.peak_iterations_ = static_cast<int64_t>(static_cast<double>(kProbe) * kBurstSeconds / probe) + 1;
  speed.Multiply();
  return speed;
}

void GemmSpeed::Multiply() {
  GemmCall call;
  call.x = x_.view();
  call.weight = &case_.weight;
  call.packed = weights_.data() + static_cast<size_t>(calls_++ % copies_) * copy_bytes_;
  call.y = {reinterpret_cast<float*>(out_.data()), case_.weight.n, nullptr, false};
  kernel_->run(call, 0, panels_);
}

SpeedRound GemmSpeed::Round() {
  SpeedRound round;
  round.operations = 2.0 * static_cast<double>(x_.view().rows * case_.weight.n * case_.weight.k);
  round.bytes = static_cast<double>(copy_bytes_);
  double peak_operations = 0;
  const double peak_seconds = ThreadSeconds(
      [&] { peak_operations = RunPeakLoop(PeakFor(*kernel_, case_.format), peak_iterations_); });
  round.peak_rate = peak_operations / peak_seconds;
  int64_t calls = 0;
  double seconds = 0;
  for (; seconds < kBurstSeconds; ++calls) seconds += ThreadSeconds([&] { Multiply(); });
  round.seconds = seconds / static_cast<double>(calls);
  // Far from what the kernel has just read.
  const size_t read_bytes = std::min(weights_.size(), kReadBytes) / 256 * 256;
  const size_t at = (static_cast<size_t>(calls_) * copy_bytes_ + weights_.size() / 2) %
                    (weights_.size() - read_bytes + 1) / 64 * 64;
  const double read = ThreadSeconds([&] { ReadMemory(weights_.data() + at, read_bytes); });
  round.read_rate = static_cast<double>(read_bytes) / read;
  return round;
}

}  // namespace octavo
