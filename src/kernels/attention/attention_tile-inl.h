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
//   Decode(table, from, count, to)   codes to vectors of bf16 pairs
#pragma once

#include <immintrin.h>

#include "kernels/attention/key_offset-inl.h"
#include "kernels/attention/kv_tables.h"
#include "kernels/attention/softmax-inl.h"

namespace octavo {

inline constexpr int kTileRows = 6;  // rows of a register tile

// Where the groups of sixteen tokens of one chunk lie in their pages.
struct ChunkPlaces {
  const std::byte* k[16];
  const std::byte* v[16];       // slab 0 (dims 0..15); null: the group does not exist
  const std::byte* next_k[16];  // of the next chunk, to prefetch
  size_t square_bytes;          // sixteen tokens by sixteen dims
  size_t v_stride;              // between slabs of V
};

// The same as f32 or bf16 vectors. Null pointers: to be decoded at their use.
struct ChunkGroups {
  ChunkPlaces places;
  const std::byte* k[16];
  const std::byte* v[16];
  size_t v_stride;
};

inline void Prefetch(const std::byte* p, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) _mm_prefetch(p + i, _MM_HINT_T1);
}

// What a tile keeps from chunk to chunk; in AttentionTask::scratch.
struct TileState {
  const KvCodeTable* table;  // numbers of the codes
  SoftmaxState state[kAttentionTileRows];
  float q_sum[kAttentionTileRows];
  int64_t first[kAttentionTileRows], last[kAttentionTileRows];  // visible tokens
  alignas(64) ChunkScales scales;  // of the current chunk
  alignas(64) std::byte q[kAttentionTileRows * kAttentionMaxHeadDim * 4];  // rounded queries
  alignas(64) float o[kAttentionTileRows * kAttentionMaxHeadDim];
  // With a KeyOffset: (u, w) of the rows, and as operands, turned to the current chunk.
  alignas(64) float uw[kAttentionTileRows * kAttentionMaxHeadDim];
  alignas(64) std::byte turned[kAttentionTileRows * kAttentionMaxHeadDim * 4];
  alignas(64) std::byte k[256 * kAttentionMaxHeadDim * 2];  // decoded pages
  alignas(64) std::byte v[256 * kAttentionMaxHeadDim * 2];
};

// The working memory of register tiles.
struct TileScratch {
  TileState tile;
  alignas(64) float dots[kTileRows * 256];
  alignas(64) float offsets[kTileRows * 256];  // q . (what the keys lack)
  alignas(64) std::byte weights[kTileRows * 256 * 4];
  alignas(64) std::byte k[4 * 16 * kAttentionMaxHeadDim * 2];  // groups decoded at their use
  alignas(64) std::byte v[2][4 * 512];                         // slabs, used in turn
};
static_assert(sizeof(TileScratch) <= kAttentionScratchBytes);

// Groups of sixteen tokens [group_begin, group_end) of a chunk; empty where begin >= end.
struct RowRange {
  int64_t chunk;
  int group_begin, group_end;
};

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
  int row;         // first row
  RowRange range;  // groups that some of the rows see
  float* partial;  // the chunk's partial results, or null
};

// dots[m][token] = q . k for all tokens of the block's groups.
template <class Dot, int MR>
inline void DotProducts(const RowBlock& block, const ChunkGroups& groups) {
  using V = typename Dot::V;
  constexpr int NR = Dot::kVectors, kSlabSteps = 16 / Dot::kTokensPerStep;
  const int dims = block.task.layout.padded_head_dim();
  const size_t stride = static_cast<size_t>(dims) * Dot::kOperandBytes;
  const std::byte* q = block.scratch.tile.q + block.row * stride;
  const int steps = dims / Dot::kTokensPerStep;
  for (int g = block.range.group_begin; g < block.range.group_end; g += NR) {
    const std::byte* k[NR];
    const std::byte* v[NR];  // to prefetch
    for (int n = 0; n < NR; ++n) {  // beyond the end: the last group again, results are dropped
      const int at = g + n < block.range.group_end ? g + n : block.range.group_end - 1;
      k[n] = groups.k[at];
      v[n] = groups.v[at];
      if (k[n] != nullptr) continue;
      std::byte* decoded = block.scratch.k + n * dims * 32;
      if (at == g + n) {
        for (int slab = 0; slab < dims / 16; ++slab) {
          Prefetch(groups.places.v[at] + static_cast<size_t>(slab) * groups.places.v_stride,
                   groups.places.square_bytes);
        }
        Dot::Decode(*block.scratch.tile.table, groups.places.k[at], dims / 2, decoded);
      }
      k[n] = v[n] = decoded;
    }
    V acc[MR][NR];
    for (int m = 0; m < MR; ++m) {
      for (int n = 0; n < NR; ++n) acc[m][n] = V::Zero();
    }
    for (int i = 0; i < steps; ++i) {
#pragma GCC unroll 8
      for (int n = 0; n < NR; ++n) {  // V of the same groups is next
        _mm_prefetch(v[n] + i / kSlabSteps * groups.v_stride + i % kSlabSteps * 64, _MM_HINT_T1);
      }
      Step<Dot, MR, NR>(q + i * (Dot::kOperandBytes * Dot::kTokensPerStep), stride, k,
                        static_cast<size_t>(i) * 64, acc);
    }
    for (int n = 0; n < NR && g + n < block.range.group_end; ++n) {
      for (int m = 0; m < MR; ++m) acc[m][n].Store(block.scratch.dots + m * 256 + (g + n) * 16);
    }
  }
}

// offsets[m][token] = what the keys of the block's groups lack.
template <class Dot, int MR>
inline void OffsetProducts(const RowBlock& block) {
  using V = typename Dot::V;
  constexpr int NR = Dot::kVectors;
  const int dims = block.task.key_offset.dims();
  const size_t stride = static_cast<size_t>(dims) * Dot::kOperandBytes;
  const std::byte* turned = block.scratch.tile.turned + block.row * stride;
  for (int g = block.range.group_begin; g < block.range.group_end; g += NR) {
    const std::byte* near[NR];
    for (int n = 0; n < NR; ++n) {
      const int at = g + n < block.range.group_end ? g + n : block.range.group_end - 1;
      near[n] = block.task.key_offset.near + static_cast<size_t>(at * dims) * 32;
    }
    V acc[MR][NR];
    for (int m = 0; m < MR; ++m) {
      for (int n = 0; n < NR; ++n) acc[m][n] = V::Zero();
    }
    for (int i = 0; i < dims / Dot::kTokensPerStep; ++i) {
      Step<Dot, MR, NR>(turned + i * (Dot::kOperandBytes * Dot::kTokensPerStep), stride, near,
                        static_cast<size_t>(i) * 64, acc);
    }
    for (int n = 0; n < NR && g + n < block.range.group_end; ++n) {
      for (int m = 0; m < MR; ++m) acc[m][n].Store(block.scratch.offsets + m * 256 + (g + n) * 16);
    }
  }
}

// What the softmax of one row leaves for the weighted sum of V.
struct RowFactor {
  MergeFactors merge = {};
  float zero_sum = 0;
  bool visible = false;
};

// One row's products with the tokens of a chunk, [256] each.
struct RowDots {
  float* dots;
  const float* offsets;  // null: the keys are whole
};

// Turns a row's dots into weights and brings its state (or partial result) up to date.
template <class Dot>
inline RowFactor RowWeights(const AttentionTask& task, const RowRange& range, int row, RowDots row_dots,
                            std::byte* weights, TileState& tile, float* partial) {
  using V = typename Dot::V;
  const int64_t begin = range.chunk * 256;
  const int64_t first = tile.first[row] - begin, last = tile.last[row] - begin;
  const RowSoftmax softmax{.score_scale = task.score_scale,
                           .softcap_log2 = task.softcap_log2,
                           .group_begin = range.group_begin,
                           .group_end = range.group_end,
                           .first = static_cast<int>(first > 0 ? first : 0),
                           .last = static_cast<int>(last < 255 ? last : 255),
                           .scales = KvHasScales(task.layout.dtype) ? &tile.scales : nullptr,
                           .q_sum = tile.q_sum[row],
                           .offsets = row_dots.offsets};
  const ChunkResult result = SoftmaxRow<V>(
      softmax, row_dots.dots, [](V x) { return Dot::Round(x); },
      [&](int g, V p) { Dot::StoreOperand(p, weights + g * 16 * Dot::kOperandBytes); });
  RowFactor factor{.zero_sum = result.zero_sum, .visible = result.state.max != kMinusInfinity};
  if (partial != nullptr) {
    partial[row] = result.state.max;
    partial[task.row_count + row] = result.state.sum;
  } else if (factor.visible) {
    factor.merge = MergeChunk<V>(tile.state[row], result.state);
  }
  return factor;
}

// Takes sixteen dims of a row's chunk output, from dim `dim` on.
template <class V>
inline void TakeOutput(const AttentionTask& task, const RowFactor& factor, int row, int dim, V o,
                       TileState& tile, float* partial) {
  const int at = row * task.layout.padded_head_dim() + dim;
  o = o - V::Set1(factor.zero_sum);
  if (partial != nullptr) {
    o.Store(partial + 2 * task.row_count + at);
  } else if (factor.visible) {
    MergeOutput(V::Load(tile.o + at), o, factor.merge).Store(tile.o + at);
  }
}

// Adds weights . V for NR slabs of sixteen dims from `slab` on.
template <class Dot, int MR, int NR>
inline void WeightedSlabs(const RowBlock& block, const ChunkGroups& groups,
                          const RowFactor (&factors)[MR], int slab) {
  using V = typename Dot::V;
  constexpr int kSteps = 16 / Dot::kTokensPerStep;
  constexpr size_t kStride = 256 * Dot::kOperandBytes;
  V acc[MR][NR];
  for (int m = 0; m < MR; ++m) {
    for (int n = 0; n < NR; ++n) acc[m][n] = V::Zero();
  }
  for (int g = block.range.group_begin; g < block.range.group_end; ++g) {
    const std::byte* v[NR];
    if (groups.v[g] != nullptr) {
      for (int n = 0; n < NR; ++n) v[n] = groups.v[g] + static_cast<size_t>(slab + n) * groups.v_stride;
    } else {
      const ChunkPlaces& places = groups.places;
      for (int n = 0; n < NR; ++n) {
        std::byte* decoded = block.scratch.v[g % 2] + n * 512;
        Dot::Decode(*block.scratch.tile.table,
                    places.v[g] + static_cast<size_t>(slab + n) * places.v_stride, 8, decoded);
        v[n] = decoded;
      }
    }
    const std::byte* weights = block.scratch.weights + g * 16 * Dot::kOperandBytes;
    Prefetch(groups.places.next_k[g] + static_cast<size_t>(slab) * groups.places.square_bytes,
             NR * groups.places.square_bytes);
    for (int i = 0; i < kSteps; ++i) {
      Step<Dot, MR, NR>(weights + i * (Dot::kOperandBytes * Dot::kTokensPerStep), kStride, v,
                        static_cast<size_t>(i) * 64, acc);
    }
  }
  for (int m = 0; m < MR; ++m) {
    for (int n = 0; n < NR; ++n) {
      TakeOutput(block.task, factors[m], block.row + m, (slab + n) * 16, acc[m][n],
                 block.scratch.tile, block.partial);
    }
  }
}

// One register tile of MR rows over one chunk.
template <class Dot, int MR>
void AttendRows(const RowBlock& block, const ChunkGroups& groups) {
  DotProducts<Dot, MR>(block, groups);
  const float* offsets = nullptr;
  if constexpr (Dot::kTokensPerStep == 2) {
    if (block.task.key_offset.bias != nullptr) {
      OffsetProducts<Dot, MR>(block);
      offsets = block.scratch.offsets;
    }
  }
  RowFactor factors[MR];
  for (int m = 0; m < MR; ++m) {
    factors[m] = RowWeights<Dot>(block.task, block.range, block.row + m,
                                 {block.scratch.dots + m * 256, offsets ? offsets + m * 256 : nullptr},
                                 block.scratch.weights + m * 256 * Dot::kOperandBytes,
                                 block.scratch.tile, block.partial);
  }
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

// Starts a tile: rounds its queries to operands, rows of `dims` elements (zeros beyond head_dim).
template <class Dot>
inline void StartTile(const AttentionTask& task, int dims, TileState& tile) {
  using V = typename Dot::V;
  const int head_dim = task.layout.head_dim;
  tile.table = &KvCodeTableOf(task.layout.dtype);
  std::byte* to = tile.q;
  for (int row = 0; row < task.row_count; ++row) {
    const float* q = task.Q(row);
    tile.first[row] = task.FirstVisible(row);
    tile.last[row] = task.PositionOf(row);
    V sum = V::Zero();
    for (int d = 0; d < dims; d += 16, to += 16 * Dot::kOperandBytes) {
      const int lanes = head_dim - d < 16 ? head_dim - d : 16;
      const V x = lanes > 0 ? V::LoadPartial(q + d, lanes) : V::Zero();
      Dot::StoreOperand(x, to);
      sum = sum + Dot::Round(x);
    }
    tile.q_sum[row] = ReduceAdd(sum);
    if (task.key_offset.bias != nullptr) {
      StartOffsetRow(task, row, tile.uw + row * task.key_offset.dims());
    }
  }
}

// The rows' operands for what the keys of a chunk lack.
template <class Dot>
inline void TurnOffsets(const AttentionTask& task, int64_t chunk, TileState& tile) {
  if (task.key_offset.bias == nullptr) return;
  const int dims = task.key_offset.dims();
  for (int row = 0; row < task.row_count; ++row) {
    std::byte* to = tile.turned + static_cast<size_t>(row * dims) * Dot::kOperandBytes;
    TurnOffsetRow<typename Dot::V>(task, chunk, tile.uw + row * dims, [&](int dim, auto x) {
      Dot::StoreOperand(x, to + static_cast<size_t>(dim) * Dot::kOperandBytes);
    });
  }
}

// Where a group of sixteen tokens lies: its KV head in its block, and which group of the block it is.
struct GroupPlace {
  const std::byte* head;
  int in_block;
};
inline GroupPlace PlaceOf(const AttentionTask& task, int64_t token) {
  const int block_size = task.layout.block_size;
  const auto id = static_cast<size_t>(task.block_table[token / block_size]);
  return {task.head + id * task.block_stride, static_cast<int>(token % block_size) / 16};
}

// Loads the scales and zeros of one group, if the type has them.
template <class V>
inline void LoadScales(const KvLayout& layout, GroupPlace place, int group, ChunkScales& scales) {
  if (!KvHasScales(layout.dtype)) return;
  const std::byte* from = place.head + 2 * layout.part_bytes() + place.in_block * 32;
  float* const arrays[] = {scales.k_scale, scales.k_zero, scales.v_scale, scales.v_zero};
  for (float* to : arrays) {
    V::LoadF16(reinterpret_cast<const uint16_t*>(from)).Store(to + group * 16);
    from += layout.scales_bytes();
  }
}

// A weight of zero times a scale must stay zero.
template <class V>
inline void ZeroScales(const KvLayout& layout, int group, ChunkScales& scales) {
  if (!KvHasScales(layout.dtype)) return;
  V::Zero().Store(scales.k_scale + group * 16);
  V::Zero().Store(scales.k_zero + group * 16);
  V::Zero().Store(scales.v_scale + group * 16);
  V::Zero().Store(scales.v_zero + group * 16);
}

// Decodes the codes of one group, the chunk's number `group`: K, and V slab by slab.
template <class Dot>
void DecodeGroup(const ChunkPlaces& places, size_t slabs, int group, TileState& tile) {
  std::byte* k = tile.k + static_cast<size_t>(group) * slabs * 512;
  std::byte* v = tile.v + static_cast<size_t>(group) * slabs * 512;
  Dot::Decode(*tile.table, places.k[group], static_cast<int>(slabs) * 8, k);
  for (size_t slab = 0; slab < slabs; ++slab) {
    Dot::Decode(*tile.table, places.v[group] + slab * places.v_stride, 8, v + slab * 512);
  }
}

// Finds the pages of a range's groups and loads their scales. Only blocks with visible tokens are looked
// up; a group without a visible token is found if it shares its block with one (blocks of 32 or more).
template <class V>
inline ChunkPlaces FindPlaces(const AttentionTask& task, const RowRange& range, TileState& tile) {
  const KvLayout& layout = task.layout;
  const auto slabs = static_cast<size_t>(layout.padded_head_dim() / 16);
  const int64_t first_token = task.FirstVisible(0);
  const int64_t last_token = task.PositionOf(task.row_count - 1);
  ChunkPlaces places;
  places.square_bytes = 32 * static_cast<size_t>(KvBits(layout.dtype));
  places.v_stride = layout.part_bytes() / slabs;
  for (int g = range.group_begin; g < range.group_end; ++g) {
    const int64_t token = range.chunk * 256 + g * 16;
    places.k[g] = places.v[g] = places.next_k[g] = nullptr;
    if (layout.block_size == 16 && (token > last_token || token + 15 < first_token)) {
      ZeroScales<V>(layout, g, tile.scales);
      continue;
    }
    const GroupPlace place = PlaceOf(task, token);
    const GroupPlace next = PlaceOf(task, token + 256 <= last_token ? token + 256 : token);
    const auto in_block = static_cast<size_t>(place.in_block);
    places.k[g] = place.head + in_block * slabs * places.square_bytes;
    places.v[g] = place.head + layout.part_bytes() + in_block * places.square_bytes;
    places.next_k[g] = next.head + static_cast<size_t>(next.in_block) * slabs * places.square_bytes;
    LoadScales<V>(layout, place, g, tile.scales);
  }
  return places;
}

// Finds the groups of a range. Codes are decoded here if several register tiles will use them.
template <class Dot>
ChunkGroups FindGroups(const AttentionTask& task, const RowRange& range, TileState& tile) {
  const KvLayout& layout = task.layout;
  const auto slabs = static_cast<size_t>(layout.padded_head_dim() / 16);
  const bool direct = layout.dtype == KvDType::kF32 || layout.dtype == KvDType::kBf16;
  const bool ahead = task.row_count > 2 * kTileRows;
  ChunkGroups groups;
  groups.places = FindPlaces<typename Dot::V>(task, range, tile);
  groups.v_stride = direct ? groups.places.v_stride : 512;
  for (int g = range.group_begin; g < range.group_end; ++g) {
    groups.k[g] = direct ? groups.places.k[g] : nullptr;
    groups.v[g] = direct ? groups.places.v[g] : nullptr;
    if (direct || !ahead) continue;
    DecodeGroup<Dot>(groups.places, slabs, g, tile);
    groups.k[g] = tile.k + static_cast<size_t>(g) * slabs * 512;
    groups.v[g] = tile.v + static_cast<size_t>(g) * slabs * 512;
  }
  return groups;
}

// The groups that some row in [row, row + count) sees.
inline RowRange VisibleGroups(const AttentionTask& task, int64_t chunk, int row, int count) {
  const int64_t first = task.FirstVisible(row) - chunk * 256;
  const int64_t last = task.PositionOf(row + count - 1) - chunk * 256;
  if (last < 0 || first > 255) return {chunk, 0, 0};
  return {chunk, static_cast<int>(first > 0 ? first : 0) / 16,
          static_cast<int>(last < 255 ? last : 255) / 16 + 1};
}

template <class Dot>
void AttendChunk(const AttentionTask& task, int64_t chunk, float* partial, TileScratch& scratch) {
  using RowsFn = void (*)(const RowBlock&, const ChunkGroups&);
  static constexpr RowsFn kRows[kTileRows] = {AttendRows<Dot, 1>, AttendRows<Dot, 2>,
                                              AttendRows<Dot, 3>, AttendRows<Dot, 4>,
                                              AttendRows<Dot, 5>, AttendRows<Dot, 6>};
  const RowRange all = VisibleGroups(task, chunk, 0, task.row_count);
  const ChunkGroups groups = FindGroups<Dot>(task, all, scratch.tile);
  if constexpr (Dot::kTokensPerStep == 2) TurnOffsets<Dot>(task, chunk, scratch.tile);
  const int blocks = (task.row_count + kTileRows - 1) / kTileRows;
  for (int row = 0, i = 0; i < blocks; ++i) {  // blocks of about equal height: 7 rows are 3 and 4
    const int count = task.row_count * (i + 1) / blocks - row;
    const RowRange range = VisibleGroups(task, chunk, row, count);
    if (range.group_begin < range.group_end) {
      kRows[count - 1]({task, scratch, row, range, partial}, groups);
    } else if (partial != nullptr) {
      for (int m = 0; m < count; ++m) partial[row + m] = kMinusInfinity;
    }
    row += count;
  }
}

// Runs chunk(index, partial) over the task's chunks and finishes the rows.
template <class V, typename Chunk>
inline void ForEachChunk(const AttentionTask& task, TileState& tile, const Chunk& run) {
  const int dims = task.layout.padded_head_dim();
  for (int row = 0; row < task.row_count; ++row) tile.state[row] = {};
  for (int i = 0; i < task.row_count * dims; i += 16) V::Zero().Store(tile.o + i);
  float* partial = task.partials;
  for (int64_t chunk = task.chunk_begin; chunk < task.chunk_end; ++chunk) {
    run(chunk, partial);
    if (partial != nullptr) partial += task.partial_floats();
  }
  if (task.partials != nullptr) return;
  for (int row = 0; row < task.row_count; ++row) {
    FinishRow<V>(task, row, tile.state[row], tile.o + row * dims);
  }
}

template <class Dot>
void AttendTileWith(const AttentionTask& task) {
  TileScratch& scratch = *reinterpret_cast<TileScratch*>(task.scratch);
  StartTile<Dot>(task, task.layout.padded_head_dim(), scratch.tile);
  ForEachChunk<typename Dot::V>(task, scratch.tile, [&](int64_t chunk, float* partial) {
    AttendChunk<Dot>(task, chunk, partial, scratch);
  });
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
