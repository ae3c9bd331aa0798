// SPDX-License-Identifier: Apache-2.0
// Attention over a paged KV cache: writing K and V, and attending.
//
// Pages and their byte layout are in kv_layout.h.
//
// Numerics: K and V are rounded to the KV type and always read back from the page, also for tokens of
// the same step. Scores in f32; the softmax runs over chunks of 256 tokens at absolute positions with
// chunk results (max, sum, output) merged in ascending order, so a query row's bits depend on nothing
// but q, its position and the pages: not on batch, chunked prefill or threads. All ISA levels give the
// same bits but kAmx, which sums 32 products at a time (f32 pages: all). The exact chains are in
// docs/numerics.md. Slots beyond a query's position never contribute.
// Denormal intermediate results are flushed to zero (as AVX512_BF16 instructions do).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "kernels/attention/key_offset.h"
#include "kernels/attention/kv_layout.h"

namespace octavo {

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
  KeyOffset key_offset = {};  // what int8 and int4 pages lack; no softcap then
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
// int8 and int4 choose scale and zero per token and head, from a range that always includes 0.
// All ISA levels store the same bytes. Two sequences must not write to the same block.
void WriteKv(const KvLayout& layout, const KvPages& pages, std::span<const SequenceSlice> sequences,
             const float* k, const float* v, int64_t kv_stride, IsaLevel isa, ThreadPool& pool);

// Attends every row of the batch to its sequence's pages (which already hold this step's tokens).
// Work is split over (sequence, kv head, tile of query rows) and, where that gives the threads too
// little, over ranges of chunks. Scratch memory belongs to the calling and the pool's threads and is
// reused; a call allocates only when it needs more than any before it.
void Attend(const KvLayout& layout, const KvPages& pages, const AttentionParams& params,
            const AttentionBatch& batch, IsaLevel isa, ThreadPool& pool);

}  // namespace octavo
