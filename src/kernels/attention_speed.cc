// SPDX-License-Identifier: Apache-2.0
// Synthetic pages, and bursts of attention between bursts of the limits.
#include "kernels/attention_speed.h"

#include <cstring>
#include <numeric>

#include "kernels/roofline.h"

namespace octavo {
namespace {

constexpr size_t kBurstBytes = size_t{64} << 20;

// Operations per second of the fastest loop that the level has for the page type.
double PeakRate(IsaLevel isa, KvDType dtype) {
  const auto rate = [](PeakLoop loop) {
    double operations = 0;
    const double seconds = ThreadSeconds([&] { operations = RunPeakLoop(loop, 200000); });
    return operations / seconds;
  };
  double best = rate(PeakLoop::kF32);
  if (dtype != KvDType::kF32 && isa >= IsaLevel::kAvx512Bf16) {
    best = std::max(best, rate(PeakLoop::kBf16));
  }
  if (dtype != KvDType::kF32 && isa >= IsaLevel::kAmx) best = std::max(best, rate(PeakLoop::kAmxBf16));
  return best;
}

}  // namespace

Result<AttentionSpeed> AttentionSpeed::Create(IsaLevel isa, KvDType dtype, const AttentionShape& shape,
                                              int64_t context, int64_t rows, size_t bytes) {
  AttentionSpeed speed(isa, shape, context, rows);
  speed.layout_ = {dtype, shape.num_kv_heads, shape.head_dim, 32};
  speed.sequence_bytes_ = static_cast<size_t>(context / 32) * speed.layout_.page_bytes();
  speed.sequences_ = std::max<int64_t>(1, static_cast<int64_t>(bytes / speed.sequence_bytes_));
  const size_t memory_bytes = speed.sequence_bytes_ * static_cast<size_t>(speed.sequences_);
  OCTAVO_ASSIGN_OR_RETURN(speed.memory_, HugeBuffer::Allocate(memory_bytes));
  std::memset(speed.memory_.data(), 0x11, memory_bytes);  // small finite numbers in every type
  speed.table_.resize(static_cast<size_t>(speed.sequences_ * context / 32));
  std::iota(speed.table_.begin(), speed.table_.end(), 0);
  speed.q_.assign(static_cast<size_t>(rows * speed.width()), 0.125f);
  speed.out_.resize(speed.q_.size());
  return speed;
}

void AttentionSpeed::AttendOnce() {
  const SequenceSlice slice{
      .row_begin = 0, .num_tokens = rows_, .position = context_ - rows_,
      .block_table = &table_[static_cast<size_t>(calls_++ % sequences_ * context_ / 32)]};
  Attend(layout_, {.base = memory_.data(), .block_stride = layout_.page_bytes()},
         {.num_heads = shape_.num_heads, .softmax_scale = 0.1f},
         {.sequences = {&slice, 1}, .q = q_.data(), .q_stride = width(), .out = out_.data(),
          .out_stride = width()},
         isa_, *pool_);
}

SpeedRound AttentionSpeed::Round() {
  SpeedRound round;
  // Multiplies and adds of q.k and p.v over visible tokens.
  const double visible =
      static_cast<double>(rows_) * (static_cast<double>(context_) - static_cast<double>(rows_ - 1) / 2);
  round.operations = 4.0 * visible * static_cast<double>(width());
  round.bytes = static_cast<double>(sequence_bytes_);
  int64_t calls = 1;
  if (memory_.size() > 2 * kBurstBytes) {
    const size_t at = static_cast<size_t>(calls_) * sequence_bytes_ % (memory_.size() - kBurstBytes) / 64 * 64;
    const double read = ThreadSeconds([&] { ReadMemory(memory_.data() + at, kBurstBytes); });
    round.read_rate = static_cast<double>(kBurstBytes) / read;
    calls = std::max<int64_t>(1, static_cast<int64_t>(kBurstBytes / sequence_bytes_));
  }
  const double seconds = ThreadSeconds([&] {
    for (int64_t i = 0; i < calls; ++i) AttendOnce();
  });
  round.seconds = seconds / static_cast<double>(calls);
  round.peak_rate = PeakRate(isa_, layout_.dtype);
  return round;
}

}  // namespace octavo
