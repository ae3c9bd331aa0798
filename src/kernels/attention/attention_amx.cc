// SPDX-License-Identifier: Apache-2.0
// Attention with AMX: sixteen query rows by sixteen tokens (or dims) per tile product.
//
// A group of K, [D/2][16 tokens][2], and two groups of a slab of V, [16 pairs][16 dims][2], are tiles as
// they lie in the page, for decode and prefill alike. What does not fit (codes, dims that are not a
// multiple of 32, blocks of 16) is unpacked into full tiles: just before its only use where the task has
// few rows, so that it stays in L1, else once per chunk for all rows.
//
// TDPBF16PS sums 32 products of its own order before it adds to the accumulator, so these are the only
// attention results that differ (in the last bits) from the reference's. They are the same for every
// batch: a chain always takes its elements in steps of 32, zeros beyond the end.
#include "kernels/attention/dot_avx512_bf16.h"

#include "kernels/attention/attention_tile-inl.h"

namespace octavo {
namespace {

constexpr int kTileHeight = 16;   // rows of one tile
constexpr int kBlockRows = 32;    // two tiles share the loads of K and V
constexpr size_t kTileBytes = 1024;

struct AmxScratch {
  TileState tile;
  alignas(64) float dots[kBlockRows * 256];
  alignas(64) float offsets[kBlockRows * 256];  // q . (what the keys lack)
  alignas(64) std::byte weights[kBlockRows * 256 * 2];
  alignas(64) float output[kBlockRows * 32];
  alignas(64) std::byte k[2][2 * 16 * kAttentionMaxHeadDim * 2];  // two pairs of groups, used in turn
  alignas(64) std::byte v[4][2 * kTileBytes];                     // two slabs of a pair
};
static_assert(sizeof(AmxScratch) <= kAttentionScratchBytes);

// All eight tiles are 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// One chunk. Groups 2 p and 2 p + 1 are pair p: a tile of V holds the 32 tokens of a pair.
struct ChunkTiles {
  ChunkPlaces places;        // a group without place counts as zeros
  const KvCodeTable* table;  // null: bf16
  size_t k_vectors;          // of a group
  size_t k_bytes;            // of an unpacked group: dims / 32 tiles, rounded up
  // Tiles; null where they are unpacked at their use.
  const std::byte* k[16];
  const std::byte* v[8];  // slab 0
  size_t v_stride;        // between slabs
};

// `vectors` vectors of bf16 pairs from codes (null: zeros). No table: the codes are bf16 themselves.
[[gnu::always_inline]] inline void Unpack(const KvCodeTable* table, const std::byte* codes,
                                          size_t vectors, std::byte* to) {
  if (codes != nullptr && table != nullptr) {
    DotBf16Native::Decode(*table, codes, static_cast<int>(vectors), to);
    return;
  }
  for (size_t i = 0; i < vectors * 64; i += 64) {
    _mm512_store_si512(to + i, codes != nullptr ? _mm512_loadu_si512(codes + i) : _mm512_setzero_si512());
  }
}

// A group of K with zeros up to a multiple of 32 dims.
inline void UnpackK(const ChunkTiles& tiles, int group, std::byte* to) {
  Unpack(tiles.table, tiles.places.k[group], tiles.k_vectors, to);
  Unpack(nullptr, nullptr, tiles.k_bytes / 64 - tiles.k_vectors, to + tiles.k_vectors * 64);
}

// One slab of a pair: a tile of V.
inline void UnpackV(const ChunkTiles& tiles, int group, int slab, std::byte* to) {
  const size_t at = static_cast<size_t>(slab) * tiles.places.v_stride;
  const std::byte* first = tiles.places.v[group];
  const std::byte* second = tiles.places.v[group + 1];
  if (second == first + tiles.places.square_bytes) return Unpack(tiles.table, first + at, 16, to);
  Unpack(tiles.table, first == nullptr ? first : first + at, 8, to);
  Unpack(tiles.table, second == nullptr ? second : second + at, 8, to + 512);
}

// Results of tiles 0..3 (row tile, column tile) to a row-major matrix.
template <bool kTwoRowTiles>
void StoreTiles(float* out, size_t stride) {
  const size_t bytes = stride * sizeof(float);
  _tile_stored(0, out, bytes);
  _tile_stored(1, out + 16, bytes);
  if constexpr (kTwoRowTiles) {
    _tile_stored(2, out + kTileHeight * stride, bytes);
    _tile_stored(3, out + kTileHeight * stride + 16, bytes);
  }
}

// One step of 32 products: rows at `a` (and sixteen rows on), columns b0 and b1.
template <bool kTwoRowTiles>
[[gnu::always_inline]] inline void TileStep(const std::byte* a, size_t stride, const std::byte* b0,
                                            const std::byte* b1) {
  _tile_loadd(4, a, stride);
  _tile_loadd(6, b0, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(7, b1, 64);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kTwoRowTiles) {
    _tile_loadd(5, a + kTileHeight * stride, stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

void ZeroTiles() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// Up to 32 rows over one chunk.
struct AmxBlock {
  const AttentionTask& task;
  AmxScratch& scratch;
  int row, count;
  RowRange range;  // whole pairs
  float* partial;
  bool prefetch;
};

template <bool kTwoRowTiles>
void AmxDots(const AmxBlock& block, const ChunkTiles& tiles, int steps) {
  const size_t stride = static_cast<size_t>(steps) * 64;
  const std::byte* q = block.scratch.tile.q + static_cast<size_t>(block.row) * stride;
  for (int g = block.range.group_begin; g < block.range.group_end; g += 2) {
    const std::byte* k[2] = {tiles.k[g], tiles.k[g + 1]};
    if (k[0] == nullptr) {
      std::byte* unpacked = block.scratch.k[g / 2 % 2];
      UnpackK(tiles, g, unpacked);
      UnpackK(tiles, g + 1, unpacked + tiles.k_bytes);
      k[0] = unpacked, k[1] = unpacked + tiles.k_bytes;
    }
    ZeroTiles();
    for (int i = 0; i < steps; ++i) {
      for (int n = 0; n < 2 && block.prefetch; ++n) {  // V of these groups is used next
        const std::byte* v = tiles.places.v[g + n] + static_cast<size_t>(2 * i) * tiles.places.v_stride;
        Prefetch(v, tiles.places.square_bytes);
        Prefetch(v + tiles.places.v_stride, tiles.places.square_bytes);
      }
      const size_t at = static_cast<size_t>(i) * kTileBytes;
      TileStep<kTwoRowTiles>(q + i * 64, stride, k[0] + at, k[1] + at);
    }
    StoreTiles<kTwoRowTiles>(block.scratch.dots + g * 16, 256);
  }
}

// offsets[row][token] = what the keys of the range lack.
template <bool kTwoRowTiles>
void AmxOffsets(const AmxBlock& block) {
  const auto steps = static_cast<size_t>(block.task.key_offset.dims() / 32);
  const size_t stride = steps * 64;
  const std::byte* turned = block.scratch.tile.turned + static_cast<size_t>(block.row) * stride;
  for (int g = block.range.group_begin; g < block.range.group_end; g += 2) {
    const std::byte* near = block.task.key_offset.near + static_cast<size_t>(g) * steps * kTileBytes;
    ZeroTiles();
    for (size_t i = 0; i < steps; ++i) {
      TileStep<kTwoRowTiles>(turned + i * 64, stride, near + i * kTileBytes,
                             near + (steps + i) * kTileBytes);
    }
    StoreTiles<kTwoRowTiles>(block.scratch.offsets + g * 16, 256);
  }
}

template <bool kTwoRowTiles>
void AmxOutput(const AmxBlock& block, const ChunkTiles& tiles, int slabs, const RowFactor* factors) {
  constexpr size_t kStride = 256 * 2;
  for (int slab = 0; slab < slabs; slab += 2) {
    const int second = slab + 1 < slabs ? slab + 1 : slab;  // its results are dropped then
    ZeroTiles();
    for (int g = block.range.group_begin; g < block.range.group_end; g += 2) {
      for (int n = 0; n < 2 && block.prefetch; ++n) {
        Prefetch(tiles.places.next_k[g + n] + static_cast<size_t>(slab) * tiles.places.square_bytes,
                 2 * tiles.places.square_bytes);
      }
      const std::byte* v0 = tiles.v[g / 2] + static_cast<size_t>(slab) * tiles.v_stride;
      const std::byte* v1 = tiles.v[g / 2] + static_cast<size_t>(second) * tiles.v_stride;
      if (tiles.v[g / 2] == nullptr) {
        std::byte* unpacked = block.scratch.v[g / 2 % 4];
        UnpackV(tiles, g, slab, unpacked);
        UnpackV(tiles, g, second, unpacked + kTileBytes);
        v0 = unpacked, v1 = unpacked + kTileBytes;
      }
      TileStep<kTwoRowTiles>(block.scratch.weights + g * 32, kStride, v0, v1);
    }
    StoreTiles<kTwoRowTiles>(block.scratch.output, 32);
    for (int m = 0; m < block.count; ++m) {
      for (int n = 0; n < 2 && slab + n < slabs; ++n) {
        TakeOutput(block.task, factors[m], block.row + m, (slab + n) * 16,
                   F32x16::Load(block.scratch.output + m * 32 + n * 16), block.scratch.tile,
                   block.partial);
      }
    }
  }
}

template <bool kTwoRowTiles>
void AmxRows(const AmxBlock& block, const ChunkTiles& tiles) {
  const int dims = block.task.layout.padded_head_dim();
  AmxDots<kTwoRowTiles>(block, tiles, (dims + 31) / 32);
  const bool offset = block.task.key_offset.bias != nullptr;
  if (offset) AmxOffsets<kTwoRowTiles>(block);
  RowFactor factors[kBlockRows];
  for (int m = 0; m < block.count; ++m) {
    factors[m] = RowWeights<DotBf16Native>(block.task, block.range, block.row + m,
                                           {block.scratch.dots + m * 256,
                                            offset ? block.scratch.offsets + m * 256 : nullptr},
                                           block.scratch.weights + m * 256 * 2, block.scratch.tile,
                                           block.partial);
  }
  AmxOutput<kTwoRowTiles>(block, tiles, dims / 16, factors);
}

// Finds the groups of a range and their tiles; unpacks them all if `ahead`.
ChunkTiles FindTiles(const AttentionTask& task, const RowRange& range, bool ahead, TileState& tile) {
  const KvLayout& layout = task.layout;
  const auto slabs = static_cast<size_t>(layout.padded_head_dim() / 16);
  const bool direct =
      layout.dtype == KvDType::kBf16 && layout.padded_head_dim() % 32 == 0 && layout.block_size >= 32;
  ChunkTiles tiles;
  tiles.places = FindPlaces<F32x16>(task, range, tile);
  tiles.table = layout.dtype == KvDType::kBf16 ? nullptr : tile.table;
  tiles.k_vectors = slabs * 8;
  tiles.k_bytes = (slabs + 1) / 2 * kTileBytes;
  tiles.v_stride = direct ? tiles.places.v_stride : kTileBytes;
  for (int g = range.group_begin; g < range.group_end; ++g) {
    tiles.k[g] = direct ? tiles.places.k[g] : nullptr;
    if (g % 2 == 0) tiles.v[g / 2] = direct ? tiles.places.v[g] : nullptr;
  }
  for (int g = range.group_begin; g < range.group_end && ahead && !direct; g += 2) {
    for (int n = g; n < g + 2; ++n) {
      std::byte* k = tile.k + static_cast<size_t>(n) * tiles.k_bytes;
      UnpackK(tiles, n, k);
      tiles.k[n] = k;
    }
    std::byte* v = tile.v + static_cast<size_t>(g / 2) * slabs * kTileBytes;
    for (size_t slab = 0; slab < slabs; ++slab) {
      UnpackV(tiles, g, static_cast<int>(slab), v + slab * kTileBytes);
    }
    tiles.v[g / 2] = v;
  }
  return tiles;
}

// The range in whole pairs. The added groups lie in the same blocks of at least 32 tokens, or count as
// zeros.
RowRange WholePairs(RowRange range) {
  range.group_begin = range.group_begin / 2 * 2;
  range.group_end = (range.group_end + 1) / 2 * 2;
  return range;
}

void AmxChunk(const AttentionTask& task, int64_t chunk, float* partial, AmxScratch& scratch) {
  const RowRange all = WholePairs(VisibleGroups(task, chunk, 0, task.row_count));
  const bool ahead = task.row_count > kBlockRows;
  const ChunkTiles tiles = FindTiles(task, all, ahead, scratch.tile);
  TurnOffsets<DotBf16Native>(task, chunk, scratch.tile);
  // Few rows: waiting for memory is what takes the time. (Blocks of 16 may lack the last group.)
  const bool prefetch = !ahead && task.layout.block_size >= 32;
  for (int row = 0; row < task.row_count; row += kBlockRows) {
    const int count = task.row_count - row < kBlockRows ? task.row_count - row : kBlockRows;
    const RowRange range = WholePairs(VisibleGroups(task, chunk, row, count));
    if (range.group_begin < range.group_end) {
      const AmxBlock block{task, scratch, row, count, range, partial, prefetch};
      count > kTileHeight ? AmxRows<true>(block, tiles) : AmxRows<false>(block, tiles);
    } else if (partial != nullptr) {
      for (int m = 0; m < count; ++m) partial[row + m] = kMinusInfinity;
    }
  }
}

void AttendAmx(const AttentionTask& task) {
  if (task.layout.dtype == KvDType::kF32) return AttendTileWith<DotF32>(task);
  AmxScratch& scratch = *reinterpret_cast<AmxScratch*>(task.scratch);
  StartTile<DotBf16Native>(task, (task.layout.head_dim + 31) / 32 * 32, scratch.tile);
  const TileConfig config;
  _tile_loadconfig(&config);
  ForEachChunk<F32x16>(task, scratch.tile, [&](int64_t chunk, float* partial) {
    AmxChunk(task, chunk, partial, scratch);
  });
  _tile_release();
}

}  // namespace

extern const AttentionKernel kAttention_attention_amx;
constinit const AttentionKernel kAttention_attention_amx = {
    "attention_amx", IsaLevel::kAmx, AttendAmx, MergePartials<F32x16>};

}  // namespace octavo
