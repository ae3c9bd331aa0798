// SPDX-License-Identifier: Apache-2.0
// One attention kernel on one shape, measured against the limits of the machine: what
// `octavo bench kernels` and attention_bench run.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/attention/attention.h"
#include "kernels/speed_rounds.h"

namespace octavo {

struct AttentionShape {
  int num_heads, num_kv_heads, head_dim;
};

inline constexpr std::string_view kKvTypeNames[] = {"f32", "bf16", "fp8_e4m3", "fp8_e5m2", "int8", "int4"};

class AttentionSpeed {
 public:
  // Pages for as many sequences of `context` tokens as fill `bytes` (at least one); the last `rows`
  // tokens of one sequence after the other attend.
  static Result<AttentionSpeed> Create(IsaLevel isa, KvDType dtype, const AttentionShape& shape,
                                       int64_t context, int64_t rows, size_t bytes);

  // The best loop for bf16 (f32 for f32 pages) that the level may use, reading where the pages exceed
  // the caches, and the kernel.
  SpeedRound Round();

 private:
  AttentionSpeed(IsaLevel isa, const AttentionShape& shape, int64_t context, int64_t rows)
      : isa_(isa), shape_(shape), context_(context), rows_(rows), pool_(std::make_unique<ThreadPool>(1)) {}
  void AttendOnce();
  int64_t width() const { return int64_t{shape_.num_heads} * shape_.head_dim; }

  IsaLevel isa_;
  AttentionShape shape_;
  int64_t context_, rows_;
  std::unique_ptr<ThreadPool> pool_;
  KvLayout layout_;
  size_t sequence_bytes_ = 0;
  int64_t sequences_ = 0, calls_ = 0;
  HugeBuffer memory_;
  std::vector<int32_t> table_;
  std::vector<float> q_, out_;
};

}  // namespace octavo
