// SPDX-License-Identifier: Apache-2.0
// Splits a batch into tiles of query rows and ranges of chunks, and runs them on the pool.
#include "kernels/attention/attention.h"

#include <xmmintrin.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <numbers>
#include <vector>

#include "base/check.h"
#include "kernels/attention/attention_kernel.h"

namespace octavo {

#define OCTAVO_ATTENTION_KERNEL(stem) extern const AttentionKernel kAttention_##stem;
#include "attention_list.inc"
#undef OCTAVO_ATTENTION_KERNEL

namespace {

#define OCTAVO_ATTENTION_KERNEL(stem) &kAttention_##stem,
constexpr const AttentionKernel* kKernels[] = {
#include "attention_list.inc"
};
#undef OCTAVO_ATTENTION_KERNEL

// Denormals count as zeros and results flush to zero, as in AVX512_BF16 instructions, so that levels
// with and without these give equal bits.
class ScopedFlushDenormals {
 public:
  ScopedFlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ScopedFlushDenormals(const ScopedFlushDenormals&) = delete;
  ScopedFlushDenormals& operator=(const ScopedFlushDenormals&) = delete;
  ~ScopedFlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
};

struct AlignedDelete {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{64}); }
};

// The scratch memory of the calling thread.
std::byte* ThreadScratch() {
  thread_local const std::unique_ptr<std::byte[], AlignedDelete> scratch(
      new (std::align_val_t{64}) std::byte[kAttentionScratchBytes]);
  return scratch.get();
}

// What one call of Attend() keeps between calls, per calling thread.
struct Workspace {
  std::vector<AttentionTask> tasks;   // pieces of tiles
  std::vector<AttentionTask> merges;  // tiles that were cut into ranges of chunks
  std::unique_ptr<float[]> partials;
  size_t partials_size = 0;

  float* ReservePartials(size_t floats) {
    if (floats > partials_size) {
      partials.reset(new float[floats]);
      partials_size = floats;
    }
    return partials.get();
  }
};

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls visit(tile) for every tile of the batch, all of its chunks in one range.
template <typename Visit>
void ForEachTile(const KvLayout& layout, const KvPages& pages, const AttentionParams& params,
                 const AttentionBatch& batch, const Visit& visit) {
  const int group_size = params.num_heads / layout.num_kv_heads;
  const float scale = params.softmax_scale * pages.k_scale;
  AttentionTask tile{.layout = layout,
                     .block_stride = pages.block_stride,
                     .q_stride = batch.q_stride,
                     .out_stride = batch.out_stride,
                     .group_size = group_size,
                     .score_scale = scale * std::numbers::log2e_v<float>,
                     .out_scale = pages.v_scale,
                     .window = params.window,
                     .key_offset = params.key_offset};
  if (params.softcap > 0) {
    tile.score_scale = scale / params.softcap;
    tile.softcap_log2 = params.softcap * std::numbers::log2e_v<float>;
  }
  for (const SequenceSlice& s : batch.sequences) {
    tile.block_table = s.block_table;
    tile.position = s.position;
    for (int head = 0; head < layout.num_kv_heads; ++head) {
      const int64_t column = int64_t{head} * group_size * layout.head_dim;
      tile.head = pages.base + static_cast<size_t>(head) * layout.head_bytes();
      tile.q = batch.q + s.row_begin * batch.q_stride + column;
      tile.out = batch.out + s.row_begin * batch.out_stride + column;
      if (params.key_offset.bias != nullptr) {
        tile.key_offset.bias = params.key_offset.bias + head * layout.head_dim;
      }
      const int64_t rows = s.num_tokens * group_size;
      for (int64_t row = 0; row < rows; row += kAttentionTileRows) {
        tile.row_begin = row;
        tile.row_count = static_cast<int>(std::min<int64_t>(kAttentionTileRows, rows - row));
        tile.chunk_begin = tile.FirstVisible(0) / kAttentionChunk;
        tile.chunk_end = tile.PositionOf(tile.row_count - 1) / kAttentionChunk + 1;
        visit(tile);
      }
    }
  }
}

// Chunks per task: small enough to give every thread a few tasks, but never so small that storing and
// merging partial results is felt. Results do not depend on it.
int64_t ChunksPerTask(int64_t total_chunks, int num_threads) {
  constexpr int64_t kTasksPerThread = 4, kFewest = 4;
  if (num_threads == 1) return total_chunks;
  return std::max(kFewest, CeilDiv(total_chunks, kTasksPerThread * num_threads));
}

// Runs fn(task) for all tasks; threads take the next one when they are free.
template <typename Fn>
void RunAll(const std::vector<AttentionTask>& tasks, ThreadPool& pool, const Fn& fn) {
  std::atomic<size_t> next{0};
  pool.ParallelFor(pool.num_threads(), 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    const ScopedFlushDenormals flush;
    for (int64_t i = begin; i < end; ++i) {
      for (size_t at; (at = next.fetch_add(1, std::memory_order_relaxed)) < tasks.size();) {
        fn(tasks[at]);
      }
    }
  });
}

}  // namespace

const AttentionKernel& FindAttentionKernel(IsaLevel isa) {
  const AttentionKernel* best = nullptr;
  for (const AttentionKernel* kernel : kKernels) {
    if (kernel->isa <= isa && (best == nullptr || kernel->isa > best->isa)) best = kernel;
  }
  return *best;  // the reference accepts every level
}

void Attend(const KvLayout& layout, const KvPages& pages, const AttentionParams& params,
            const AttentionBatch& batch, IsaLevel isa, ThreadPool& pool) {
  OCTAVO_DCHECK(layout.valid() && params.num_heads % layout.num_kv_heads == 0);
  OCTAVO_DCHECK(params.key_offset.bias == nullptr ||
                (KvHasScales(layout.dtype) && params.softcap == 0 && params.key_offset.rotary_dim > 0));
  thread_local Workspace workspace;
  workspace.tasks.clear();
  workspace.merges.clear();
  int64_t total_chunks = 0;
  ForEachTile(layout, pages, params, batch, [&](const AttentionTask& tile) {
    total_chunks += tile.chunk_end - tile.chunk_begin;
  });
  const int64_t span = ChunksPerTask(total_chunks, pool.num_threads());

  size_t partial_floats = 0;
  ForEachTile(layout, pages, params, batch, [&](const AttentionTask& tile) {
    const int64_t chunks = tile.chunk_end - tile.chunk_begin;
    if (chunks > span) partial_floats += tile.partial_floats() * static_cast<size_t>(chunks);
  });
  float* partials = workspace.ReservePartials(partial_floats);
  ForEachTile(layout, pages, params, batch, [&](const AttentionTask& tile) {
    const int64_t chunks = tile.chunk_end - tile.chunk_begin;
    if (chunks <= span) {
      workspace.tasks.push_back(tile);
      return;
    }
    AttentionTask piece = tile;
    piece.partials = partials;
    workspace.merges.push_back(piece);
    const int64_t pieces = CeilDiv(chunks, span);
    for (int64_t i = 0; i < pieces; ++i) {
      piece.chunk_begin = tile.chunk_begin + chunks * i / pieces;
      piece.chunk_end = tile.chunk_begin + chunks * (i + 1) / pieces;
      piece.partials = partials + tile.partial_floats() *
                                      static_cast<size_t>(piece.chunk_begin - tile.chunk_begin);
      workspace.tasks.push_back(piece);
    }
    partials += tile.partial_floats() * static_cast<size_t>(chunks);
  });

  const AttentionKernel& kernel = FindAttentionKernel(isa);
  RunAll(workspace.tasks, pool, [&](AttentionTask task) {
    task.scratch = ThreadScratch();
    kernel.attend(task);
  });
  if (!workspace.merges.empty()) RunAll(workspace.merges, pool, kernel.merge);
}

}  // namespace octavo
