// SPDX-License-Identifier: Apache-2.0
// Attention over a paged KV cache: page layout, writing K and V, and attending.
//
// A block holds `block_size` consecutive tokens of one sequence for one layer; within it every KV head
// has a K part and a V part (and, for int8 and int4, the scales and zeros beside them):
//
//   block: [kv_head 0: K | V | scales][kv_head 1: K | V | scales]...       page_bytes() in all
//   K (16-bit): [block_size/16][head_dim/2][16 tokens][2]   lane = token: q.k needs no horizontal sum
//   V (16-bit): [head_dim/16][block_size/2][16 dims][2]     lane = dim:   p.v needs none either
//
// Layouts of other types are the same with their element width; see attention_layout.h.
//
// Numerics: K and V are rounded to the KV type and always read back from the page, also for tokens of
// the same step. Scores in f32; the softmax runs over chunks of 256 tokens at absolute positions with
// chunk results (max, sum, output) merged in ascending order, so a query row's bits depend on nothing
// but q, its position and the pages: not on batch, chunked prefill, threads or ISA (except that
// kReference may differ from the vector levels in the last bits of exp).
// Slots beyond a query's position never contribute.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "base/thread_pool.h"

namespace octavo {

enum class KvDType : uint8_t { kF32, kBf16, kFp8E4M3, kFp8E5M2, kInt8, kInt4 };

inline constexpr int kAttentionChunk = 256;

// Shape and type of the pages of one KV group.
struct KvLayout {
  KvDType dtype = KvDType::kBf16;
  int num_kv_heads = 0;
  int head_dim = 0;     // a multiple of 16 after padding; see padded_head_dim()
  int block_size = 32;  // tokens per block, a multiple of 16

  int padded_head_dim() const { return (head_dim + 15) / 16 * 16; }
  size_t head_bytes() const;  // K + V + scales of one head in one block, a multiple of 64
  size_t page_bytes() const { return head_bytes() * static_cast<size_t>(num_kv_heads); }
};

// One layer's pages: block b of the pool starts at base + b * block_stride.
struct KvPages {
  std::byte* base = nullptr;
  size_t block_stride = 0;
  float k_scale = 1.0f;  // fp8 only: stored = value / scale
  float v_scale = 1.0f;
};

// The tokens of one sequence in this step: rows [row_begin, row_begin + num_tokens) of the flattened
// batch, at absolute positions [position, position + num_tokens).
struct SequenceSlice {
  int64_t row_begin = 0;
  int64_t num_tokens = 0;
  int64_t position = 0;
  const int32_t* block_table = nullptr;  // block of token t: block_table[t / block_size]
};

struct AttentionParams {
  int num_heads = 0;         // a multiple of num_kv_heads
  float softmax_scale = 0;   // usually head_dim^-0.5
  float softcap = 0;         // s = softcap * tanh(s / softcap) when > 0
  int64_t window = 0;        // key j is visible to query i iff i - window < j <= i; 0: all j <= i
};

struct AttentionBatch {
  std::span<const SequenceSlice> sequences;
  const float* q = nullptr;   // [rows][num_heads * head_dim], rotated; row stride q_stride
  int64_t q_stride = 0;
  float* out = nullptr;       // [rows][num_heads * head_dim], row stride out_stride
  int64_t out_stride = 0;
};

// Rounds and stores k and v ([rows][num_kv_heads * head_dim] f32, rotated) at their positions.
// Tokens that open a block clear its remaining slots, so a reused page never leaks old numbers.
void WriteKv(const KvLayout& layout, const KvPages& pages, std::span<const SequenceSlice> sequences,
             const float* k, const float* v, int64_t kv_stride, IsaLevel isa, ThreadPool& pool);

// Attends every row of the batch to its sequence's pages (which already hold this step's tokens).
void Attend(const KvLayout& layout, const KvPages& pages, const AttentionParams& params,
            const AttentionBatch& batch, IsaLevel isa, ThreadPool& pool);

}  // namespace octavo
