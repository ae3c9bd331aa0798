// SPDX-License-Identifier: Apache-2.0
// What an attention kernel is: the work on one tile of query rows, without threads or batches.
//
// A kernel file attention_<isa>.cc exports kAttention_<stem>; attention.cc splits a batch into tiles and
// calls the highest level. Only plain types here: kernel files must not instantiate library code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu_features.h"
#include "kernels/attention/key_offset.h"
#include "kernels/attention/kv_layout.h"

namespace octavo {

// Most rows of one tile. A row is one (token, query head) pair of a KV head's group; rows are numbered
// token * group_size + head. 96 is a multiple of the register tiles' heights (6, 16 and 32).
inline constexpr int kAttentionTileRows = 96;
inline constexpr int kAttentionMaxHeadDim = 256;
inline constexpr size_t kAttentionScratchBytes = 832 * 1024;

// One tile of query rows of one sequence and one KV head, over a range of chunks.
struct AttentionTask {
  KvLayout layout;
  const std::byte* head = nullptr;  // the KV head in block 0 of the pool
  size_t block_stride = 0;
  const int32_t* block_table = nullptr;

  const float* q = nullptr;  // token 0 of the step, first query head of the group
  int64_t q_stride = 0;      // elements between tokens; heads are head_dim apart
  float* out = nullptr;
  int64_t out_stride = 0;
  int group_size = 1;    // query heads per KV head
  int64_t position = 0;  // of token 0
  int64_t row_begin = 0;
  int row_count = 0;  // 1..kAttentionTileRows

  float score_scale = 0;   // scores in log2 units: dot * score_scale, or
  float softcap_log2 = 0;  // softcap_log2 * tanh(dot * score_scale) when > 0
  float out_scale = 1;     // multiplies the result (fp8's v_scale)
  int64_t window = 0;      // 0: all earlier tokens are visible

  KeyOffset key_offset;  // int8 and int4; the bias of this KV head

  int64_t chunk_begin = 0, chunk_end = 0;
  // Null: all chunks of the rows are in the range, write `out`. Otherwise write chunk results here:
  // per chunk partial_floats() values, [rows] max, [rows] sum, [rows][padded_head_dim] output.
  float* partials = nullptr;
  std::byte* scratch = nullptr;  // kAttentionScratchBytes, 64-byte aligned

  int64_t PositionOf(int64_t row) const { return position + (row_begin + row) / group_size; }
  // First visible token of the row.
  int64_t FirstVisible(int64_t row) const {
    const int64_t p = PositionOf(row);
    return window > 0 && p >= window ? p - window + 1 : 0;
  }
  const float* Q(int64_t row) const {
    const int64_t r = row_begin + row;
    return q + r / group_size * q_stride + r % group_size * layout.head_dim;
  }
  float* Out(int64_t row) const {
    const int64_t r = row_begin + row;
    return out + r / group_size * out_stride + r % group_size * layout.head_dim;
  }
  size_t partial_floats() const {
    return static_cast<size_t>(row_count) * (static_cast<size_t>(layout.padded_head_dim()) + 2);
  }
};

struct AttentionKernel {
  const char* name;  // the file's stem, e.g. "attention_avx512_bf16"
  IsaLevel isa;
  void (*attend)(const AttentionTask& task);
  // Merges the partials of task.chunk_begin .. chunk_end in ascending order and writes `out`.
  void (*merge)(const AttentionTask& task);
};

// The kernel of the highest level that is at most `isa`.
const AttentionKernel& FindAttentionKernel(IsaLevel isa);

}  // namespace octavo
