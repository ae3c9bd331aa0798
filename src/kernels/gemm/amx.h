// SPDX-License-Identifier: Apache-2.0
// The AMX kernel: 32 rows x 32 channels per step on eight tiles, for every row count from one on.
//
// Include after simd_avx512.h in a file compiled for AMX. A `Source` names the dot product (int8 or
// bf16), the packed layout and how to turn packed codes into tiles:
//
//   panel of 32 channels: [header][k step][2 halves of 16 channels] tiles
//   B tile: 16 rows of 64 bytes, row r = columns of quad (pair) r, [16 channels][4 (2)]
//
// Loop order: row block (at most 512, so totals stay in L2) > group of panels (one, or several when the
// rows' activations outgrow L2) > K chunk (its tiles stay in L1) > panel > 32 rows. Between chunks the
// raw tiles C, or with group scales the f32 totals, wait in a scratch matrix. An output's bits depend
// on its own row, channel and K order only: integer sums are exact, and bf16 sums follow TDPBF16PS per
// 32 columns in ascending order whatever the blocking.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/amx_tiles.h"
#include "kernels/gemm/group_scales.h"
#include "kernels/gemm/simd_avx512.h"

namespace octavo {
namespace {

inline constexpr int64_t kAmxMaxRows = 512;
inline constexpr int64_t kAmxMaxPanels = 8;        // panels that share one pass over the activations
inline constexpr int64_t kAmxL2Bytes = 1280 << 10;  // activations up to here are read again from L2

template <bool kValue>
struct Bool {
  static constexpr bool value = kValue;
};

// Where the parts of a panel lie and how K is cut.
struct AmxLayout {
  int64_t tile_k;       // columns per k step
  int64_t steps;        // k steps in all
  GroupScales<kAmxChannels> scales;
  int64_t header = 64;
  int64_t mins = 0, codes = 0;

  AmxLayout(const WeightSpec& w, int64_t full_tile_k) : scales(w) {
    tile_k = full_tile_k;
    if (w.group_size > 0 && w.group_size < w.k) {
      while (w.group_size % tile_k != 0) tile_k /= 2;  // AmxAccepts: ends at 16
    }
    steps = DivUp(w.k, tile_k);
    mins = header + scales.bytes();
    codes = mins + (w.has_min ? scales.bytes() : 0);
  }
};

// Whether groups can be cut at k steps and fit a chunk.
inline bool AmxAccepts(const WeightSpec& w) {
  return w.group_size == 0 || w.group_size >= w.k || (w.group_size % 16 == 0 && w.group_size <= 384);
}

template <typename Source>
struct Amx {
  using Dot = typename Source::Dot;

  static size_t PanelBytes(const WeightSpec& w) {
    const AmxLayout layout(w, Dot::kTileK);
    return static_cast<size_t>(Source::CodesOffset(w, layout) + layout.steps * Source::StepBytes(layout));
  }

  static void PackHeader(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
    const AmxLayout layout(w, Dot::kTileK);
    __builtin_memset(panel, 0, static_cast<size_t>(layout.header));
    layout.scales.Pack(rows.scales, rows.super_scales, panel + layout.header);
    if (w.has_min) layout.scales.Pack(rows.mins, rows.super_mins, panel + layout.mins);
  }

  // Everything about one call that the inner functions share.
  struct Context {
    const GemmCall& call;
    AmxLayout layout;
    Source source;
    bool group128;
    bool weight_groups;
    int64_t group_steps;  // k steps per group; all without groups
    int64_t groups;
    bool stream;          // write results past the caches
    int64_t chunk_steps;  // k steps per chunk: whole groups, or any number without

    explicit Context(const GemmCall& c)
        : call(c),
          layout(*c.weight, Dot::kTileK),
          source(*c.weight, layout),
          group128(c.x.spec.format == ActivationFormat::kFp8Group128),
          weight_groups(c.weight->scales == ScaleLayout::kGroup) {
      const int64_t size = weight_groups ? c.weight->group_size : (group128 ? 128 : c.weight->k);
      group_steps = size >= c.weight->k ? layout.steps : size / layout.tile_k;
      groups = DivUp(layout.steps, group_steps);
      // Large outputs leave L2 before anyone reads them, and each row of a block is in another page:
      // waiting to own those lines would take longer than the products.
      stream = c.x.rows >= 64 && !c.y.accumulate && c.y.row_stride % 16 == 0 &&
               reinterpret_cast<uintptr_t>(c.y.out) % 64 == 0;
      // B tiles of a chunk share L1 with A: at most kChunkSteps, cut evenly, whole groups.
      const int64_t unit = groups > 1 ? group_steps : 1;
      const int64_t chunks = DivUp(layout.steps, Source::kChunkSteps / unit * unit);
      chunk_steps = RoundUp(DivUp(layout.steps, chunks), unit);
    }
    // Several groups: each has its own partial sums. A single one is a plain chain, scaled at the end.
    bool grouped() const { return groups > 1; }
    bool scales_groups() const { return group128 || weight_groups; }
  };

  // total[m] += scale * partial[m] for one group (and the min), in the order of gemm.h. The first group
  // starts from zero instead of reading totals.
  template <bool kFirst, bool kMin, bool kTokenGroups>
  static void AddGroupRows(const Context& ctx, const std::byte* panel, int64_t g, int64_t row,
                           int64_t rows, const std::byte* partial, std::byte* total) {
    const ActivationView& x = ctx.call.x;
    const GroupScales<kAmxChannels>& scales = ctx.layout.scales;
    const auto row_scales = kTokenGroups ? x.scales + row * x.scales_per_row() + g : nullptr;
    const int64_t scale_stride = kTokenGroups ? x.scales_per_row() : 0;
    const int64_t sum_stride = kMin ? x.sum_groups() : 0;
    __m512 scale[2], min[2];
    for (int v = 0; v < 2; ++v) {
      scale[v] = ctx.weight_groups ? scales.Load(panel + ctx.layout.header, g, v * 16) : _mm512_set1_ps(1.0f);
      min[v] = kMin ? scales.Load(panel + ctx.layout.mins, g, v * 16) : _mm512_setzero_ps();
    }
    for (int64_t m = 0; m < rows; ++m) {
      auto* out = reinterpret_cast<float*>(total + m * kAmxRowBytes);
      __m512 sum = _mm512_setzero_ps();
      if constexpr (kMin) {
        const int64_t at = (row + m) * sum_stride + g;
        sum = _mm512_set1_ps(Dot::kInteger ? static_cast<float>(x.group_sums[at]) : x.group_sums_f32[at]);
      }
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::byte* at = partial + m * kAmxRowBytes + v * 64;
        const __m512 value =
            Dot::kInteger ? _mm512_cvtepi32_ps(_mm512_load_si512(at)) : _mm512_load_ps(at);
        __m512 factor = scale[v];
        if (kTokenGroups) factor = _mm512_mul_ps(_mm512_set1_ps(row_scales[m * scale_stride]), factor);
        __m512 acc = kFirst ? _mm512_setzero_ps() : _mm512_load_ps(out + v * 16);
        acc = _mm512_fmadd_ps(value, factor, acc);
        if (kMin) acc = _mm512_fmadd_ps(sum, min[v], acc);
        _mm512_store_ps(out + v * 16, acc);
      }
    }
  }

  static void AddGroup(const Context& ctx, const std::byte* panel, int64_t g, int64_t row, int64_t rows,
                       const std::byte* partial, std::byte* total) {
    const auto add = [&](auto first) {
      constexpr bool kFirst = decltype(first)::value;
      if (ctx.group128) return AddGroupRows<kFirst, false, true>(ctx, panel, g, row, rows, partial, total);
      if (ctx.call.weight->has_min) {
        return AddGroupRows<kFirst, true, false>(ctx, panel, g, row, rows, partial, total);
      }
      AddGroupRows<kFirst, false, false>(ctx, panel, g, row, rows, partial, total);
    };
    g == 0 ? add(Bool<true>{}) : add(Bool<false>{});
  }

  // Up to 32 rows against one chunk of one panel; `c` is the block's place in the scratch matrix.
  template <bool kTwoRowTiles>
  static void RowBlock(const Context& ctx, const std::byte* panel, const std::byte* tiles,
                       int64_t step_begin, int64_t step_end, int64_t row, int64_t row_in_block,
                       int64_t rows, int64_t n, std::byte* c) {
    const ActivationView& x = ctx.call.x;
    TileProduct p;
    p.a_stride = x.row_stride * Dot::kElementBytes;
    p.a_step = ctx.layout.tile_k * Dot::kElementBytes;
    p.a = static_cast<const std::byte*>(x.data) + row * p.a_stride + step_begin * p.a_step;
    p.b = tiles;
    p.b_tile = ctx.layout.tile_k * Dot::kElementBytes * 16;
    p.out = nullptr;
    if (!ctx.stream && step_end == ctx.layout.steps && rows == 32) {
      p.out = reinterpret_cast<const std::byte*>(ctx.call.y.out + row * ctx.call.y.row_stride + n);
      p.out_stride = ctx.call.y.row_stride * 4;
    }
    p.prefetch = row_in_block == 0 ? ctx.source.Prefetch(step_end - step_begin) : 0;
    if (!ctx.grouped()) {
      p.steps = step_end - step_begin;
      p.c = c;
      p.load_c = step_begin > 0;
      MultiplyTiles<Dot, kTwoRowTiles>(p);
      return;
    }
    // A group's sums are scaled after the tile instructions of the next group are on their way.
    alignas(64) std::byte partial[2][32 * kAmxRowBytes];
    const int64_t first = step_begin / ctx.group_steps;
    int64_t g = first;
    for (int64_t step = step_begin; step < step_end; ++g) {
      const int64_t group_end = (g + 1) * ctx.group_steps;
      const int64_t end = group_end < step_end ? group_end : step_end;
      p.steps = end - step;
      p.c = partial[g % 2];
      p.load_c = false;
      MultiplyTiles<Dot, kTwoRowTiles>(p);
      if (g > first) AddGroup(ctx, panel, g - 1, row, rows, partial[(g - 1) % 2], c);
      p.a += p.steps * p.a_step;
      p.b += p.steps * 2 * p.b_tile;
      step = end;
    }
    AddGroup(ctx, panel, g - 1, row, rows, partial[(g - 1) % 2], c);
  }

  static void Epilogue(const Context& ctx, const std::byte* panel, int64_t row, int64_t rows, int64_t n,
                       std::byte* c) {
    const GemmCall& call = ctx.call;
    const auto* scales = reinterpret_cast<const float*>(panel + ctx.layout.header);
    if (ctx.scales_groups() && !ctx.grouped()) AddGroup(ctx, panel, 0, row, rows, c, c);
    const Columns columns(call, n, ctx.weight_groups ? nullptr : scales);
    if (call.y.bias != nullptr) {
      call.y.accumulate ? StoreRows<true, true>(ctx, columns, row, rows, n, c)
                        : StoreRows<true, false>(ctx, columns, row, rows, n, c);
    } else {
      call.y.accumulate ? StoreRows<false, true>(ctx, columns, row, rows, n, c)
                        : StoreRows<false, false>(ctx, columns, row, rows, n, c);
    }
  }

  // What the epilogue needs of the 32 channels of a panel.
  struct Columns {
    __mmask16 mask[2];
    __m512 scale[2], bias[2];

    Columns(const GemmCall& call, int64_t n, const float* scales) {
      for (int v = 0; v < 2; ++v) {
        const int64_t left = call.weight->n - n - v * 16;
        mask[v] = LaneMask(left > 0 ? left : 0);
        scale[v] = scales != nullptr ? _mm512_load_ps(scales + v * 16) : _mm512_set1_ps(1.0f);
        if (call.y.bias != nullptr) bias[v] = _mm512_maskz_loadu_ps(mask[v], call.y.bias + n + v * 16);
      }
    }
  };

  template <bool kBias, bool kAccumulate>
  static void StoreRows(const Context& ctx, const Columns& columns, int64_t row, int64_t rows, int64_t n,
                        const std::byte* c) {
    const GemmCall& call = ctx.call;
    const float* tokens = ctx.group128 ? nullptr : call.x.scales;
    const bool convert = Dot::kInteger && !ctx.scales_groups();
    for (int64_t m = 0; m < rows; ++m) {
      // Factors the formats lack are 1: exact.
      const __m512 token = _mm512_set1_ps(tokens != nullptr ? tokens[row + m] : 1.0f);
      float* out = call.y.out + (row + m) * call.y.row_stride + n;
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::byte* at = c + m * kAmxRowBytes + v * 64;
        __m512 value = convert ? _mm512_cvtepi32_ps(_mm512_load_si512(at)) : _mm512_load_ps(at);
        value = _mm512_mul_ps(_mm512_mul_ps(value, token), columns.scale[v]);
        if (kBias) value = _mm512_add_ps(value, columns.bias[v]);
        const __mmask16 mask = columns.mask[v];
        if (kAccumulate) value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out + v * 16), value);
        if (!kAccumulate && ctx.stream && mask == 0xffff) {
          _mm512_stream_ps(out + v * 16, value);
        } else {
          _mm512_mask_storeu_ps(out + v * 16, mask, value);
        }
      }
    }
  }

  // One panel x one K chunk x all rows of the block [row, row + rows).
  static void PanelChunk(const Context& ctx, const std::byte* panel, int64_t step_begin, int64_t row,
                         int64_t rows, int64_t n, std::byte* totals) {
    alignas(64) std::byte scratch[Source::kScratchBytes];
    const int64_t steps = ctx.layout.steps;
    const int64_t step_end = step_begin + ctx.chunk_steps < steps ? step_begin + ctx.chunk_steps : steps;
    const std::byte* tiles = ctx.source.Tiles(panel, step_begin, step_end - step_begin, scratch);
    const bool last = step_end == steps;
    const TileShape full = ctx.source.Shape();
    int64_t m = 0;
    for (; m + 32 <= rows; m += 32) {
      std::byte* c = totals + m * kAmxRowBytes;
      RowBlock<true>(ctx, panel, tiles, step_begin, step_end, row + m, m, 32, n, c);
      if (last) Epilogue(ctx, panel, row + m, 32, n, c);
    }
    const int64_t tail = rows - m;
    if (tail == 0) return;
    std::byte* c = totals + m * kAmxRowBytes;
    if (rows > 32) {
      TileShape shape = full;
      shape.rows0 = static_cast<int>(tail < 16 ? tail : 16);
      shape.rows1 = static_cast<int>(tail - shape.rows0);
      ConfigureTiles(shape);
    }
    if (tail > 16) {
      RowBlock<true>(ctx, panel, tiles, step_begin, step_end, row + m, m, tail, n, c);
    } else {
      RowBlock<false>(ctx, panel, tiles, step_begin, step_end, row + m, m, tail, n, c);
    }
    if (last) Epilogue(ctx, panel, row + m, tail, n, c);
    if (rows > 32) ConfigureTiles(full);
  }

  // Up to 32 rows against a whole panel that is decoded on the way: step s + 2 becomes tiles while the
  // tile units work on step s, so that reading DRAM never waits for them.
  template <bool kTwoRowTiles>
  [[gnu::noinline]] static void FewRows(const Context& ctx, const std::byte* panel, int64_t row,
                                        int64_t rows, int64_t n, std::byte* totals) {
    constexpr int64_t kAhead = 2, kRing = 4, kFetch = 4096;
    alignas(64) std::byte ring[kRing][2048];
    alignas(64) std::byte partial[32 * kAmxRowBytes];
    const ActivationView& x = ctx.call.x;
    const Source source = ctx.source;
    const int64_t stride = x.row_stride * Dot::kElementBytes;
    const int64_t a_step = ctx.layout.tile_k * Dot::kElementBytes;
    const int64_t steps = ctx.layout.steps;
    const std::byte* a = static_cast<const std::byte*>(x.data) + row * stride;
    for (int64_t s = 0; s < kAhead && s < steps; ++s) source.DecodeStep(panel, s, kFetch, ring[s]);
    ZeroC<kTwoRowTiles>();
    int64_t group_left = ctx.group_steps, g = 0;
    for (int64_t s = 0; s < steps; ++s) {
      if (s + kAhead < steps) source.DecodeStep(panel, s + kAhead, kFetch, ring[(s + kAhead) % kRing]);
      StepC<Dot, kTwoRowTiles>(a, stride, ring[s % kRing], a_step * 16);
      a += a_step;
      if (--group_left == 0 && ctx.grouped()) {
        StoreC<kTwoRowTiles>(partial);
        ZeroC<kTwoRowTiles>();
        AddGroup(ctx, panel, g++, row, rows, partial, totals);
        group_left = ctx.group_steps;
      }
    }
    if (!ctx.grouped()) {
      StoreC<kTwoRowTiles>(totals);
    } else if (group_left < ctx.group_steps) {  // the last group is short
      StoreC<kTwoRowTiles>(partial);
      AddGroup(ctx, panel, g, row, rows, partial, totals);
    }
    Epilogue(ctx, panel, row, rows, n, totals);
  }

  static void RowsAndPanels(const Context& ctx, int64_t row, int64_t rows, int64_t panel_begin,
                            int64_t panel_end, std::byte* totals) {
    const auto panel_bytes = static_cast<int64_t>(PanelBytes(*ctx.call.weight));
    const int64_t row_bytes = ctx.call.x.row_stride * Dot::kElementBytes;
    const int64_t together = rows * row_bytes > kAmxL2Bytes ? kAmxMaxPanels : 1;
    const int64_t total_bytes = kAmxMaxRows * kAmxRowBytes;
    if constexpr (requires { &Source::DecodeStep; }) {
      if (rows <= 32) {
        for (int64_t p = panel_begin; p < panel_end; ++p) {
          const std::byte* panel = ctx.call.packed + p * panel_bytes;
          const int64_t n = p * kAmxChannels;
          if constexpr (requires { Source::Fits(panel); }) {
            if (!Source::Fits(panel)) {
              Source::RunUnfit(ctx.call, ctx.layout, panel, row, rows, n);
              continue;
            }
          }
          rows > 16 ? FewRows<true>(ctx, panel, row, rows, n, totals)
                    : FewRows<false>(ctx, panel, row, rows, n, totals);
        }
        return;
      }
    }
    for (int64_t p = panel_begin; p < panel_end; p += together) {
      const int64_t end = p + together < panel_end ? p + together : panel_end;
      if constexpr (requires { Source::RunUnfit(ctx.call, ctx.layout, nullptr, 0, 0, 0); }) {
        for (int64_t q = p; q < end; ++q) {
          const std::byte* panel = ctx.call.packed + q * panel_bytes;
          if (!Source::Fits(panel)) Source::RunUnfit(ctx.call, ctx.layout, panel, row, rows, q * kAmxChannels);
        }
      }
      for (int64_t step = 0; step < ctx.layout.steps; step += ctx.chunk_steps) {
        for (int64_t q = p; q < end; ++q) {
          if constexpr (requires { Source::Fits(nullptr); }) {
            if (!Source::Fits(ctx.call.packed + q * panel_bytes)) continue;
          }
          PanelChunk(ctx, ctx.call.packed + q * panel_bytes, step, row, rows, q * kAmxChannels,
                     totals + (q - p) * total_bytes);
        }
      }
    }
  }

  static void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    [[maybe_unused]] const typename Source::Mode mode;
    const Context ctx(call);
    if constexpr (requires { typename Source::OneRow; }) {
      using OneRow = typename Source::OneRow;
      if (OneRow::Accepts(ctx)) return OneRow::Run(ctx, panel_begin, panel_end);
    }
    alignas(64) std::byte totals[kAmxMaxPanels * kAmxMaxRows * kAmxRowBytes];
    for (int64_t row = 0; row < call.x.rows; row += kAmxMaxRows) {
      const int64_t rows = call.x.rows - row < kAmxMaxRows ? call.x.rows - row : kAmxMaxRows;
      TileShape shape = ctx.source.Shape();
      if (rows < 32) {
        shape.rows0 = static_cast<int>(rows < 16 ? rows : 16);
        shape.rows1 = static_cast<int>(rows - shape.rows0);
      }
      ConfigureTiles(shape);
      RowsAndPanels(ctx, row, rows, panel_begin, panel_end, totals);
    }
    _tile_release();
    if (ctx.stream) _mm_sfence();  // before other threads are told
  }
};

struct NoMode {
  NoMode() {}
};

// Sources of tiles. Shape() is that of a full step; StepBytes what a step takes in the panel.

// Codes are the tiles: int8 or bf16.
template <typename DotType, typename ModeType>
struct DirectSource {
  using Dot = DotType;
  using Mode = ModeType;
  static constexpr int64_t kChunkSteps = 16;
  static constexpr int64_t kScratchBytes = 64;
  int64_t tile_k, codes;

  DirectSource(const WeightSpec&, const AmxLayout& layout) : tile_k(layout.tile_k), codes(layout.codes) {}
  static int64_t CodesOffset(const WeightSpec&, const AmxLayout& layout) { return layout.codes; }
  static int64_t StepBytes(const AmxLayout& layout) { return layout.tile_k * Dot::kElementBytes * 32; }
  TileShape Shape() const {
    const int bytes = static_cast<int>(tile_k) * Dot::kElementBytes;
    return {16, 16, bytes, bytes / 4};
  }
  // The first rows of a chunk fetch the next one.
  int64_t Prefetch(int64_t steps) const { return steps * tile_k * Dot::kElementBytes * 32; }
  const std::byte* Tiles(const std::byte* panel, int64_t step, int64_t, std::byte*) const {
    return panel + codes + step * tile_k * Dot::kElementBytes * 32;
  }

  static void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
    Amx<DirectSource>::PackHeader(w, rows, panel);
    const AmxLayout layout(w, Dot::kTileK);
    const int64_t row_bytes = w.k * Dot::kElementBytes;
    const int64_t tile_dwords = layout.tile_k * Dot::kElementBytes / 4;
    std::byte* out = panel + layout.codes;
    for (int v = 0; v < 2; ++v) {
      int64_t next = 0;
      const auto place = [&](int64_t i) {
        return out + ((i / tile_dwords * 2 + v) * tile_dwords + i % tile_dwords) * 64;
      };
      TransposeRows(rows.codes.data() + v * 16 * row_bytes, row_bytes, [&](int64_t i, __m512i dwords) {
        _mm512_store_si512(place(i), dwords);
        next = i + 1;
      });
      for (; next < layout.steps * tile_dwords; ++next) {
        _mm512_store_si512(place(next), _mm512_setzero_si512());
      }
    }
  }
};

}  // namespace
}  // namespace octavo
