// SPDX-License-Identifier: Apache-2.0
// The fast attention kernel, a template over the vector type and the dot product of an ISA level.
//
// What it changes against the reference: up to six query rows share each loaded vector of K or V in a
// register tile (rows of one group and, in prefill, of many tokens); groups of sixteen tokens that no row
// of the register tile sees are skipped; int8, int4 and fp8 pages are decoded to bf16 once per tile.
// None of this touches a row's chains, so the bits are the reference's.
//
// `Dot` is the dot product of an ISA level and operand type:
//   V                 an F32x16: sixteen accumulators
//   kVectors          vectors of K or V that a register tile holds beside its rows
//   kTokensPerStep    elements of a chain that one step multiplies: 1 (f32) or 2 (bf16 pairs)
//   kOperandBytes     bytes of one element of a row operand (q, or weights p)
//   kPhases           instructions a step is made of; B and A are loaded per phase
//   LoadB<phase>(p), LoadA<phase>(p), Step(acc, a, b)
//   Round(v)          v as the operand that StoreOperand stores
//   StoreOperand(v, p)
//   Decode(dtype, from, count, to)   codes to vectors of bf16 pairs
#pragma once

#include <immintrin.h>

#include "kernels/attention/softmax-inl.h"

namespace octavo {

inline constexpr int kTileRows = 6;  // rows of a register tile

// Groups of sixteen tokens of one chunk, as bf16 or f32 vectors. In V consecutive slabs of sixteen dims
// are v_stride bytes apart.
struct ChunkGroups {
  const std::byte* k[16];
  const std::byte* v[16];
  size_t v_stride;
};

// The working memory of one tile, in AttentionTask::scratch.
struct alignas(64) TileScratch {
  float dots[kTileRows * 256];
  std::byte weights[kTileRows * 256 * 4];
  ChunkScales scales;
  SoftmaxState state[kAttentionTileRows];
  float q_sum[kAttentionTileRows];
  std::byte q[kAttentionTileRows * kAttentionMaxHeadDim * 4];
  float o[kAttentionTileRows * kAttentionMaxHeadDim];
  std::byte k[256 * kAttentionMaxHeadDim * 2];  // decoded pages
  std::byte v[256 * kAttentionMaxHeadDim * 2];
};
static_assert(sizeof(TileScratch) <= kAttentionScratchBytes);

// acc[m][n] += one step for every row m (operands `stride` bytes apart) and vector n.
template <class Dot, int kPhase, int MR, int NR, class V>
[[gnu::always_inline]] inline void StepPhase(const std::byte* a, size_t stride,
                                             const std::byte* const (&b)[NR], size_t b_offset,
                                             V (&acc)[MR][NR]) {
  decltype(Dot::template LoadB<kPhase>(nullptr)) vectors[NR];
#pragma GCC unroll 8
  for (int n = 0; n < NR; ++n) vectors[n] = Dot::template LoadB<kPhase>(b[n] + b_offset);
#pragma GCC unroll 8
  for (int m = 0; m < MR; ++m) {
    const auto row = Dot::template LoadA<kPhase>(a + m * stride);
#pragma GCC unroll 8
    for (int n = 0; n < NR; ++n) acc[m][n] = Dot::Step(acc[m][n], row, vectors[n]);
  }
}

template <class Dot, int MR, int NR, class V>
[[gnu::always_inline]] inline void Step(const std::byte* a, size_t stride,
                                        const std::byte* const (&b)[NR], size_t b_offset,
                                        V (&acc)[MR][NR]) {
  StepPhase<Dot, 0, MR, NR>(a, stride, b, b_offset, acc);
  if constexpr (Dot::kPhases == 2) StepPhase<Dot, 1, MR, NR>(a, stride, b, b_offset, acc);
}

// The part of a tile that one register tile works on.
struct RowBlock {
  const AttentionTask& task;
  TileScratch& scratch;
  int64_t chunk;
  int row;                      // first row
  int group_begin, group_end;   // groups that some of the rows see
  float* partial;               // the chunk's partial results, or null
};

// dots[m][token] = q . k for all tokens of the block's groups.
template <class Dot, int MR>
inline void DotProducts(const RowBlock& block, const ChunkGroups& groups) {
  using V = typename Dot::V;
  constexpr int NR = Dot::kVectors;
  const int dims = block.task.layout.padded_head_dim();
  const size_t stride = static_cast<size_t>(dims) * Dot::kOperandBytes;
  const std::byte* q = block.scratch.q + block.row * stride;
  const int steps = dims / Dot::kTokensPerStep;
  for (int g = block.group_begin; g < block.group_end; g += NR) {
    const std::byte* k[NR];
    for (int n = 0; n < NR; ++n) {  // beyond the end: the last group again, results are dropped
      k[n] = groups.k[g + n < block.group_end ? g + n : block.group_end - 1];
    }
    V acc[MR][NR];
    for (int m = 0; m < MR; ++m) {
      for (int n = 0; n < NR; ++n) acc[m][n] = V::Zero();
    }
    for (int i = 0; i < steps; ++i) {
      Step<Dot, MR, NR>(q + i * (Dot::kOperandBytes * Dot::kTokensPerStep), stride, k,
                        static_cast<size_t>(i) * 64, acc);
    }
    for (int n = 0; n < NR && g + n < block.group_end; ++n) {
      for (int m = 0; m < MR; ++m) acc[m][n].Store(block.scratch.dots + m * 256 + (g + n) * 16);
    }
  }
}

// What the softmax leaves for the weighted sum of V.
template <int MR>
struct RowFactors {
  MergeFactors merge[MR];
  float zero_sum[MR];
  bool visible[MR];
};

// Turns dots into weights (scratch.weights) and brings the rows' states up to date.
template <class Dot, int MR>
inline RowFactors<MR> Weights(const RowBlock& block) {
  using V = typename Dot::V;
  const AttentionTask& task = block.task;
  TileScratch& scratch = block.scratch;
  const int64_t begin = block.chunk * 256;
  RowFactors<MR> factors;
  for (int m = 0; m < MR; ++m) {
    const int row = block.row + m;
    const int64_t first = task.FirstVisible(row) - begin, last = task.PositionOf(row) - begin;
    const RowSoftmax softmax{
        .score_scale = task.score_scale,
        .softcap_log2 = task.softcap_log2,
        .group_begin = block.group_begin,
        .group_end = block.group_end,
        .first = static_cast<int>(first > 0 ? first : 0),
        .last = static_cast<int>(last < 255 ? last : 255),
        .scales = KvHasScales(task.layout.dtype) ? &scratch.scales : nullptr,
        .q_sum = scratch.q_sum[row]};
    std::byte* weights = scratch.weights + m * 256 * Dot::kOperandBytes;
    const ChunkResult result = SoftmaxRow<V>(
        softmax, scratch.dots + m * 256, [](V x) { return Dot::Round(x); },
        [&](int g, V p) { Dot::StoreOperand(p, weights + g * 16 * Dot::kOperandBytes); });
    factors.zero_sum[m] = result.zero_sum;
    factors.visible[m] = result.state.max != kMinusInfinity;
    if (block.partial != nullptr) {
      block.partial[row] = result.state.max;
      block.partial[task.row_count + row] = result.state.sum;
    } else if (factors.visible[m]) {
      factors.merge[m] = MergeChunk<V>(scratch.state[row], result.state);
    }
  }
  return factors;
}

// Adds weights . V for NR slabs of sixteen dims from `slab` on.
template <class Dot, int MR, int NR>
inline void WeightedSlabs(const RowBlock& block, const ChunkGroups& groups,
                          const RowFactors<MR>& factors, int slab) {
  using V = typename Dot::V;
  constexpr int kSteps = 16 / Dot::kTokensPerStep;
  constexpr size_t kStride = 256 * Dot::kOperandBytes;
  V acc[MR][NR];
  for (int m = 0; m < MR; ++m) {
    for (int n = 0; n < NR; ++n) acc[m][n] = V::Zero();
  }
  for (int g = block.group_begin; g < block.group_end; ++g) {
    const std::byte* v[NR];
    for (int n = 0; n < NR; ++n) v[n] = groups.v[g] + static_cast<size_t>(slab + n) * groups.v_stride;
    const std::byte* weights = block.scratch.weights + g * 16 * Dot::kOperandBytes;
    for (int i = 0; i < kSteps; ++i) {
      Step<Dot, MR, NR>(weights + i * (Dot::kOperandBytes * Dot::kTokensPerStep), kStride, v,
                        static_cast<size_t>(i) * 64, acc);
    }
  }
  const int dims = block.task.layout.padded_head_dim();
  for (int m = 0; m < MR; ++m) {
    const int row = block.row + m;
    for (int n = 0; n < NR; ++n) {
      const int at = row * dims + (slab + n) * 16;
      const V o = acc[m][n] - V::Set1(factors.zero_sum[m]);
      if (block.partial != nullptr) {
        o.Store(block.partial + 2 * block.task.row_count + at);
      } else if (factors.visible[m]) {
        MergeOutput(V::Load(block.scratch.o + at), o, factors.merge[m]).Store(block.scratch.o + at);
      }
    }
  }
}

// One register tile of MR rows over one chunk.
template <class Dot, int MR>
void AttendRows(const RowBlock& block, const ChunkGroups& groups) {
  DotProducts<Dot, MR>(block, groups);
  const RowFactors<MR> factors = Weights<Dot, MR>(block);
  const int slabs = block.task.layout.padded_head_dim() / 16;
  int slab = 0;
  for (; slab + Dot::kVectors <= slabs; slab += Dot::kVectors) {
    WeightedSlabs<Dot, MR, Dot::kVectors>(block, groups, factors, slab);
  }
  if constexpr (Dot::kVectors > 2) {
    for (; slab + 2 <= slabs; slab += 2) WeightedSlabs<Dot, MR, 2>(block, groups, factors, slab);
  }
  for (; slab < slabs; ++slab) WeightedSlabs<Dot, MR, 1>(block, groups, factors, slab);
}

// Rounds the tile's queries to operands.
template <class Dot>
void LoadQueries(const AttentionTask& task, TileScratch& scratch) {
  using V = typename Dot::V;
  const int dims = task.layout.padded_head_dim(), head_dim = task.layout.head_dim;
  std::byte* to = scratch.q;
  for (int row = 0; row < task.row_count; ++row) {
    const float* q = task.Q(row);
    V sum = V::Zero();
    for (int d = 0; d < dims; d += 16, to += 16 * Dot::kOperandBytes) {
      const V x = V::LoadPartial(q + d, head_dim - d < 16 ? head_dim - d : 16);
      Dot::StoreOperand(x, to);
      sum = sum + Dot::Round(x);
    }
    scratch.q_sum[row] = ReduceAdd(sum);
  }
}

// Decodes one group's codes: K, and V slab by slab.
template <class Dot>
void DecodeGroup(const KvLayout& layout, const std::byte* head, int group_in_block, int group,
                 TileScratch& scratch) {
  const int dims = layout.padded_head_dim();
  const size_t group_bytes = static_cast<size_t>(dims) * 16 * 2;  // decoded
  const size_t codes = static_cast<size_t>(dims) * 16 * static_cast<size_t>(KvBits(layout.dtype)) / 8;
  Dot::Decode(layout.dtype, head + static_cast<size_t>(group_in_block) * codes, dims / 2,
              scratch.k + static_cast<size_t>(group) * group_bytes);
  const size_t slab_codes = layout.part_bytes() / static_cast<size_t>(dims / 16);
  const size_t part = codes / static_cast<size_t>(dims / 16);  // of one slab and group
  for (int slab = 0; slab < dims / 16; ++slab) {
    Dot::Decode(layout.dtype,
                head + layout.part_bytes() + static_cast<size_t>(slab) * slab_codes +
                    static_cast<size_t>(group_in_block) * part,
                8, scratch.v + static_cast<size_t>(group) * group_bytes + static_cast<size_t>(slab) * 512);
  }
  if (!KvHasScales(layout.dtype)) return;
  using V = typename Dot::V;
  const std::byte* scales = head + 2 * layout.part_bytes();
  float* const to[4] = {scratch.scales.k_scale, scratch.scales.k_zero, scratch.scales.v_scale,
                        scratch.scales.v_zero};
  for (size_t i = 0; i < 4; ++i) {
    const std::byte* from = scales + i * layout.scales_bytes() + group_in_block * 32;
    V::LoadF16(reinterpret_cast<const uint16_t*>(from)).Store(to[i] + group * 16);
  }
}

// Finds (and decodes) groups [begin, end) of chunk `chunk`.
template <class Dot>
ChunkGroups FindGroups(const AttentionTask& task, int64_t chunk, int begin, int end,
                       TileScratch& scratch) {
  const KvLayout& layout = task.layout;
  const bool direct = layout.dtype == KvDType::kF32 || layout.dtype == KvDType::kBf16;
  const int per_block = layout.block_size / 16;
  const size_t group_bytes = static_cast<size_t>(layout.padded_head_dim()) * 16 *
                             (layout.dtype == KvDType::kF32 ? 4 : 2);
  const size_t slab_group_bytes = group_bytes / static_cast<size_t>(layout.padded_head_dim() / 16);
  ChunkGroups groups;
  groups.v_stride = slab_group_bytes * static_cast<size_t>(direct ? per_block : 1);
  for (int g = begin; g < end; ++g) {
    const int64_t token = chunk * 256 + g * 16;
    const auto id = static_cast<size_t>(task.block_table[token / layout.block_size]);
    const std::byte* head = task.head + id * task.block_stride;
    const int in_block = static_cast<int>(token % layout.block_size) / 16;
    if (direct) {
      groups.k[g] = head + static_cast<size_t>(in_block) * group_bytes;
      groups.v[g] = head + layout.part_bytes() + static_cast<size_t>(in_block) * slab_group_bytes;
    } else {
      DecodeGroup<Dot>(layout, head, in_block, g, scratch);
      groups.k[g] = scratch.k + static_cast<size_t>(g) * group_bytes;
      groups.v[g] = scratch.v + static_cast<size_t>(g) * group_bytes;
    }
  }
  return groups;
}

// Groups of sixteen tokens of a chunk that some row in [row, row + count) sees; empty: begin >= end.
struct GroupRange {
  int begin, end;
};
inline GroupRange VisibleGroups(const AttentionTask& task, int64_t chunk, int row, int count) {
  const int64_t first = task.FirstVisible(row) - chunk * 256;
  const int64_t last = task.PositionOf(row + count - 1) - chunk * 256;
  if (last < 0 || first > 255) return {0, 0};
  return {static_cast<int>(first > 0 ? first : 0) / 16, static_cast<int>(last < 255 ? last : 255) / 16 + 1};
}

template <class Dot>
void AttendChunk(const AttentionTask& task, int64_t chunk, float* partial, TileScratch& scratch) {
  using RowsFn = void (*)(const RowBlock&, const ChunkGroups&);
  static constexpr RowsFn kRows[kTileRows] = {AttendRows<Dot, 1>, AttendRows<Dot, 2>,
                                              AttendRows<Dot, 3>, AttendRows<Dot, 4>,
                                              AttendRows<Dot, 5>, AttendRows<Dot, 6>};
  const GroupRange all = VisibleGroups(task, chunk, 0, task.row_count);
  const ChunkGroups groups = FindGroups<Dot>(task, chunk, all.begin, all.end, scratch);
  for (int row = 0; row < task.row_count; row += kTileRows) {
    const int count = task.row_count - row < kTileRows ? task.row_count - row : kTileRows;
    const GroupRange range = VisibleGroups(task, chunk, row, count);
    if (range.begin < range.end) {
      kRows[count - 1]({task, scratch, chunk, row, range.begin, range.end, partial}, groups);
    } else if (partial != nullptr) {
      for (int m = 0; m < count; ++m) partial[row + m] = kMinusInfinity;
    }
  }
}

template <class Dot>
void AttendTileWith(const AttentionTask& task) {
  using V = typename Dot::V;
  TileScratch& scratch = *reinterpret_cast<TileScratch*>(task.scratch);
  const int dims = task.layout.padded_head_dim();
  LoadQueries<Dot>(task, scratch);
  if (task.partials == nullptr) {
    for (int row = 0; row < task.row_count; ++row) scratch.state[row] = {};
    for (int i = 0; i < task.row_count * dims; i += 16) V::Zero().Store(scratch.o + i);
  }
  float* partial = task.partials;
  for (int64_t chunk = task.chunk_begin; chunk < task.chunk_end; ++chunk) {
    AttendChunk<Dot>(task, chunk, partial, scratch);
    if (partial != nullptr) partial += task.partial_floats();
  }
  if (task.partials != nullptr) return;
  for (int row = 0; row < task.row_count; ++row) {
    FinishRow<V>(task, row, scratch.state[row], scratch.o + row * dims);
  }
}

// AttentionKernel::attend of a level with dot products for f32 pages and for all others.
template <class DotF32, class DotBf16>
void AttendTile(const AttentionTask& task) {
  if (task.layout.dtype == KvDType::kF32) {
    AttendTileWith<DotF32>(task);
  } else {
    AttendTileWith<DotBf16>(task);
  }
}

}  // namespace octavo
