// SPDX-License-Identifier: Apache-2.0
// Attention with AMX: sixteen query rows by sixteen tokens (or dims) per tile product.
//
// A group of K, [D/2][16 tokens][2], and two groups of a slab of V, [16 pairs][16 dims][2], are tiles as
// they lie in the page, for decode and prefill alike. What does not fit (codes, dims that are not a
// multiple of 32, blocks of 16) is decoded or copied into full tiles first.
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

struct alignas(64) AmxScratch {
  TileState tile;
  float dots[kBlockRows * 256];
  std::byte weights[kBlockRows * 256 * 2];
  float output[kBlockRows * 32];
};
static_assert(sizeof(AmxScratch) <= kAttentionScratchBytes);

// All eight tiles are 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Tiles of one chunk. Token pairs of groups (2 p, 2 p + 1) are "pairs": a tile of V holds 32 tokens.
struct ChunkTiles {
  const std::byte* k[16];       // [dims / 32] tiles of a group
  const std::byte* v[8];        // slab 0 of a pair
  const std::byte* next_k[16];  // to prefetch
  size_t v_stride;              // bytes between slabs
};

void PrefetchTile(const std::byte* p) {
#pragma GCC unroll 16
  for (size_t i = 0; i < kTileBytes; i += 64) _mm_prefetch(p + i, _MM_HINT_T1);
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
  bool prefetch;  // the first rows bring the data for all
};

template <bool kTwoRowTiles>
void AmxDots(const AmxBlock& block, const ChunkTiles& tiles, int steps) {
  const size_t stride = static_cast<size_t>(steps) * 64;
  const std::byte* q = block.scratch.tile.q + static_cast<size_t>(block.row) * stride;
  for (int g = block.range.group_begin; g < block.range.group_end; g += 2) {
    ZeroTiles();
    for (int i = 0; i < steps; ++i) {
      if (block.prefetch) {
        PrefetchTile(tiles.v[g / 2] + static_cast<size_t>(2 * i) * tiles.v_stride);
        PrefetchTile(tiles.v[g / 2] + static_cast<size_t>(2 * i + 1) * tiles.v_stride);
      }
      const size_t at = static_cast<size_t>(i) * kTileBytes;
      TileStep<kTwoRowTiles>(q + i * 64, stride, tiles.k[g] + at, tiles.k[g + 1] + at);
    }
    StoreTiles<kTwoRowTiles>(block.scratch.dots + g * 16, 256);
  }
}

template <bool kTwoRowTiles>
void AmxOutput(const AmxBlock& block, const ChunkTiles& tiles, int slabs, const RowFactor* factors) {
  constexpr size_t kStride = 256 * 2;
  for (int slab = 0; slab < slabs; slab += 2) {
    const size_t first = static_cast<size_t>(slab) * tiles.v_stride;
    const size_t second = slab + 1 < slabs ? first + tiles.v_stride : first;  // the latter is dropped
    ZeroTiles();
    for (int g = block.range.group_begin; g < block.range.group_end; g += 2) {
      if (block.prefetch) {
        PrefetchTile(tiles.next_k[g] + static_cast<size_t>(slab / 2) * kTileBytes);
        PrefetchTile(tiles.next_k[g + 1] + static_cast<size_t>(slab / 2) * kTileBytes);
      }
      const std::byte* v = tiles.v[g / 2];
      TileStep<kTwoRowTiles>(block.scratch.weights + g * 32, kStride, v + first, v + second);
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
  RowFactor factors[kBlockRows];
  for (int m = 0; m < block.count; ++m) {
    factors[m] = RowWeights<DotBf16Native>(block.task, block.range, block.row + m,
                                           block.scratch.dots + m * 256,
                                           block.scratch.weights + m * 256 * 2, block.scratch.tile,
                                           block.partial);
  }
  AmxOutput<kTwoRowTiles>(block, tiles, dims / 16, factors);
}

// bf16 words of a group, decoded or copied: K rows up to a multiple of 32 dims (zeros), V as the half
// of its pair's tiles.
void UnpackGroup(const KvLayout& layout, GroupPlace place, int group, size_t k_bytes, TileState& tile) {
  const auto slabs = static_cast<size_t>(layout.padded_head_dim() / 16);
  const auto in_block = static_cast<size_t>(place.in_block);
  const size_t square = 32 * static_cast<size_t>(KvBits(layout.dtype));  // sixteen tokens by sixteen dims
  const size_t slab_bytes = layout.part_bytes() / slabs;
  const auto unpack = [&](const std::byte* from, size_t vectors, std::byte* to) {
    if (layout.dtype != KvDType::kBf16) {
      DotBf16Native::Decode(layout.dtype, from, static_cast<int>(vectors), to);
      return;
    }
    for (size_t i = 0; i < vectors * 64; i += 64) _mm512_store_si512(to + i, _mm512_loadu_si512(from + i));
  };
  std::byte* k = tile.k + static_cast<size_t>(group) * k_bytes;
  unpack(place.head + in_block * slabs * square, slabs * 8, k);
  for (size_t i = slabs * 512; i < k_bytes; i += 64) _mm512_store_si512(k + i, _mm512_setzero_si512());
  std::byte* v = tile.v + static_cast<size_t>(group / 2) * slabs * kTileBytes + group % 2 * 512;
  const std::byte* v_codes = place.head + layout.part_bytes() + in_block * square;
  for (size_t slab = 0; slab < slabs; ++slab) unpack(v_codes + slab * slab_bytes, 8, v + slab * kTileBytes);
  LoadScales<F32x16>(layout, place, group, tile.scales);
}

// Whether tiles are read from the page.
bool IsDirect(const KvLayout& layout) {
  return layout.dtype == KvDType::kBf16 && layout.padded_head_dim() % 32 == 0 && layout.block_size >= 32;
}

// A group that does not exist (an odd last one in blocks of 16): all its weights are zero.
void ZeroGroup(const KvLayout& layout, int group, size_t k_bytes, TileState& tile) {
  const auto slabs = static_cast<size_t>(layout.padded_head_dim() / 16);
  const __m512i zero = _mm512_setzero_si512();
  std::byte* k = tile.k + static_cast<size_t>(group) * k_bytes;
  for (size_t i = 0; i < k_bytes; i += 64) _mm512_store_si512(k + i, zero);
  std::byte* v = tile.v + static_cast<size_t>(group / 2) * slabs * kTileBytes + group % 2 * 512;
  for (size_t i = 0; i < slabs * 512; i += 64) {
    _mm512_store_si512(v + i / 512 * kTileBytes + i % 512, zero);
  }
  for (float* to : {tile.scales.k_scale, tile.scales.k_zero, tile.scales.v_scale, tile.scales.v_zero}) {
    F32x16::Zero().Store(to + group * 16);
  }
}

ChunkTiles FindTiles(const AttentionTask& task, const RowRange& range, TileState& tile) {
  const KvLayout& layout = task.layout;
  const auto slabs = static_cast<size_t>(layout.padded_head_dim() / 16);
  const size_t k_bytes = (slabs + 1) / 2 * kTileBytes;
  const int64_t last_token = task.PositionOf(task.row_count - 1);
  const bool direct = IsDirect(layout);
  ChunkTiles tiles;
  tiles.v_stride = direct ? static_cast<size_t>(layout.block_size) * 32 : kTileBytes;
  for (int g = range.group_begin; g < range.group_end; ++g) {
    const int64_t token = range.chunk * 256 + g * 16;
    if (direct) {
      const GroupPlace place = PlaceOf(task, token);
      const GroupPlace next = PlaceOf(task, token + 256 <= last_token ? token + 256 : token);
      tiles.k[g] = place.head + static_cast<size_t>(place.in_block) * k_bytes;
      tiles.next_k[g] = next.head + static_cast<size_t>(next.in_block) * k_bytes;
      if (g % 2 == 0) tiles.v[g / 2] = place.head + layout.part_bytes() + place.in_block * 512;
      continue;
    }
    if (layout.block_size >= 32 || token <= last_token) {
      UnpackGroup(layout, PlaceOf(task, token), g, k_bytes, tile);
    } else {
      ZeroGroup(layout, g, k_bytes, tile);
    }
    tiles.k[g] = tiles.next_k[g] = tile.k + static_cast<size_t>(g) * k_bytes;
    tiles.v[g / 2] = tile.v + static_cast<size_t>(g / 2) * slabs * kTileBytes;
  }
  return tiles;
}

// The range in whole pairs. The added groups lie in the same blocks of at least 32 tokens, or FindTiles
// fills them with zeros.
RowRange WholePairs(RowRange range) {
  range.group_begin = range.group_begin / 2 * 2;
  range.group_end = (range.group_end + 1) / 2 * 2;
  return range;
}

void AmxChunk(const AttentionTask& task, int64_t chunk, float* partial, AmxScratch& scratch) {
  const RowRange all = WholePairs(VisibleGroups(task, chunk, 0, task.row_count));
  const ChunkTiles tiles = FindTiles(task, all, scratch.tile);
  const bool direct = IsDirect(task.layout);
  for (int row = 0; row < task.row_count; row += kBlockRows) {
    const int count = task.row_count - row < kBlockRows ? task.row_count - row : kBlockRows;
    const RowRange range = WholePairs(VisibleGroups(task, chunk, row, count));
    if (range.group_begin < range.group_end) {
      const AmxBlock block{task, scratch, row, count, range, partial, direct && row == 0};
      count > kTileHeight ? AmxRows<true>(block, tiles) : AmxRows<false>(block, tiles);
    } else if (partial != nullptr) {
      for (int m = 0; m < count; ++m) partial[row + m] = kMinusInfinity;
    }
  }
}

void AttendAmx(const AttentionTask& task) {
  if (task.layout.dtype == KvDType::kF32) return AttendTileWith<DotF32>(task);
  AmxScratch& scratch = *reinterpret_cast<AmxScratch*>(task.scratch);
  LoadQueries<DotBf16Native>(task, (task.layout.head_dim + 31) / 32 * 32, scratch.tile);
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
