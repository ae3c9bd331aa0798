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
// raw tiles C, or with group scales the f32 totals, wait in a scratch matrix. What comes next (the codes
// of the next chunk, the rows of the next K chunk) is fetched to L2 a few lines per step, and the
// results of 32 rows are stored while the tile units work on the next 32. An output's bits depend
// on its own row, channel and K order only: integer sums are exact, and bf16 sums follow TDPBF16PS per
// 32 columns in ascending order whatever the blocking.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/amx_epilogue.h"
#include "kernels/gemm/amx_tiles.h"
#include "kernels/gemm/group_scales.h"
#include "kernels/gemm/simd_avx512.h"

namespace octavo {
namespace {

inline constexpr int64_t kAmxMaxRows = 512;
inline constexpr int64_t kAmxMaxPanels = 8;        // panels that share one pass over the activations
inline constexpr int64_t kAmxL2Bytes = 1280 << 10;  // activations up to here are read again from L2

template <typename Source>
struct Amx {
  using Dot = typename Source::Dot;
  using Epilogue = AmxEpilogue<Dot>;

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

  struct Context : AmxCall<Dot> {
    Source source;
    int64_t chunk_steps;  // k steps per chunk: whole groups, or any number without
    int64_t panel_bytes;
    int64_t first_codes;  // of a panel

    explicit Context(const GemmCall& c)
        : AmxCall<Dot>(c),
          source(*c.weight, this->layout),
          panel_bytes(static_cast<int64_t>(PanelBytes(*c.weight))),
          first_codes(Source::CodesOffset(*c.weight, this->layout)) {
      // B tiles of a chunk share L1 with A: at most kChunkSteps, cut evenly, whole groups. For 32 rows
      // they are read only once: all of K is one chunk, and reading memory never waits for sums.
      const int64_t unit = this->groups > 1 ? this->group_steps : 1;
      const int64_t chunks =
          c.x.rows <= 32 ? 1 : DivUp(this->layout.steps, Source::kChunkSteps / unit * unit);
      chunk_steps = RoundUp(DivUp(this->layout.steps, chunks), unit);
    }
    const std::byte* Panel(int64_t p) const { return this->call.packed + p * panel_bytes; }
    int64_t ChunkEnd(int64_t step) const {
      return step + chunk_steps < this->layout.steps ? step + chunk_steps : this->layout.steps;
    }
  };

  // One K chunk of one panel, and what follows it.
  struct Chunk {
    int64_t panel;       // index
    int64_t step_begin, step_end;
    const std::byte* next = nullptr;  // bytes that the next chunk will read
    int64_t next_bytes = 0;
    int64_t place = 0, places = 1;    // of the panels that share this chunk of the activations
  };

  // The rows [row, row + rows) of the call against one panel after the other, and the results of the
  // last 32 rows, which wait until the tile units have something else to do.
  struct Block {
    const Context& ctx;
    int64_t row, rows;
    std::byte* totals;
    Epilogue pending;
  };

  // Stores the results of rows whose sums are complete.
  static void FinishRows(const Context& ctx, const std::byte* panel, int64_t row, int64_t rows, int64_t n,
                         std::byte* c) {
    if (ctx.scales_groups() && !ctx.grouped()) Epilogue::AddGroup(ctx, panel, 0, row, rows, c, c);
    Epilogue(ctx, panel, row, rows, n, c).Finish();
  }

  // What to fetch beside the product of rows [m, m + 32) of the block.
  static void PlanFetches(const Block& block, const Chunk& chunk, int64_t m, TileProduct& p) {
    const Context& ctx = block.ctx;
    const int64_t steps = chunk.step_end - chunk.step_begin;
    const int64_t row_blocks = DivUp(block.rows, 32);
    // Few rows wait for memory, which the hardware's own prefetching reads fastest.
    if (block.rows > 16) {
      const int64_t per_block = DivUp(DivUp(chunk.next_bytes, 64), row_blocks);
      p.weights = {chunk.next + m / 32 * per_block * 64, DivUp(per_block, steps)};
    }
    const int64_t chunk_lines = ctx.chunk_steps * p.a_step / 64 * 16;  // of 16 rows, in tile order
    if (chunk.places > 1 && ctx.call.x.tiled && chunk_lines > 0) {
      // Each of the panels that share these rows fetches its part of the next chunk of them.
      const int64_t next = chunk.step_end < ctx.layout.steps ? chunk.step_end : 0;
      const int64_t per_panel = DivUp(chunk_lines, chunk.places);
      const int64_t at = ColumnOffset(next * p.a_step, p.a_chunk_mask) + chunk.place * per_panel * 64;
      p.rows[0] = {p.a[0] + at, DivUp(per_panel, steps)};
      if (m + 16 < block.rows) p.rows[1] = {p.a[1] + at, DivUp(per_panel, steps)};
    }
    if (chunk.step_begin > 0 && m + 32 < block.rows) p.sums = {p.c + 32 * kAmxRowBytes, DivUp(64, steps)};
  }

  // Up to 32 rows against one chunk of one panel.
  template <bool kTwoRowTiles>
  [[gnu::noinline]] static void RowBlock(Block& block, const Chunk& chunk, const std::byte* tiles,
                                         int64_t m, int64_t rows) {
    const Context& ctx = block.ctx;
    const int64_t row = block.row + m, n = chunk.panel * kAmxChannels;
    const std::byte* panel = ctx.Panel(chunk.panel);
    std::byte* c = block.totals + m * kAmxRowBytes;
    TileProduct p;
    p.a[0] = ctx.RowTile(row);
    p.a[1] = ctx.RowTile(row + 16);
    p.a_stride = ctx.row_tile_stride();
    p.a_chunk_mask = ctx.chunk_mask();
    p.a_step = ctx.layout.tile_k * Dot::kElementBytes;
    p.a_column = chunk.step_begin * p.a_step;
    p.b = tiles;
    p.b_tile = p.a_step * 16;
    p.c = c;
    if (!ctx.stream && chunk.step_end == ctx.layout.steps && rows == 32) {
      p.out = reinterpret_cast<const std::byte*>(ctx.call.y.out + row * ctx.call.y.row_stride + n);
      p.out_stride = ctx.call.y.row_stride * 4;
    }
    PlanFetches(block, chunk, m, p);
    p.steps = chunk.step_end - chunk.step_begin;
    const int64_t pending_rows = DivUp(32, p.steps);
    const auto beside = [&] {
      if (!block.pending.finished()) block.pending.Advance(pending_rows);
    };
    if (!ctx.grouped()) {
      p.load_c = chunk.step_begin > 0;
      MultiplyTiles<Dot, kTwoRowTiles>(p, beside);
    } else {
      // A group's sums are scaled after the tile instructions of the next group are on their way.
      alignas(64) std::byte partial[2][32 * kAmxRowBytes];
      const int64_t first = chunk.step_begin / ctx.group_steps;
      int64_t g = first;
      p.load_c = false;
      for (int64_t step = chunk.step_begin; step < chunk.step_end; ++g) {
        const int64_t group_end = (g + 1) * ctx.group_steps;
        const int64_t end = group_end < chunk.step_end ? group_end : chunk.step_end;
        p.steps = end - step;
        p.c = partial[g % 2];
        MultiplyTiles<Dot, kTwoRowTiles>(p, beside);
        if (g > first) Epilogue::AddGroup(ctx, panel, g - 1, row, rows, partial[(g - 1) % 2], c);
        p.a_column += p.steps * p.a_step;
        p.b += p.steps * 2 * p.b_tile;
        step = end;
      }
      Epilogue::AddGroup(ctx, panel, g - 1, row, rows, partial[(g - 1) % 2], c);
    }
    block.pending.Finish();
    if (chunk.step_end < ctx.layout.steps) return;
    if (ctx.scales_groups() && !ctx.grouped()) Epilogue::AddGroup(ctx, panel, 0, row, rows, c, c);
    block.pending = Epilogue(ctx, panel, row, rows, n, c);
  }

  // One panel x one K chunk x all rows of the block.
  static void PanelChunk(Block& block, const Chunk& chunk) {
    alignas(64) std::byte scratch[Source::kScratchBytes];
    const Context& ctx = block.ctx;
    const std::byte* tiles = ctx.source.Tiles(ctx.Panel(chunk.panel), chunk.step_begin,
                                              chunk.step_end - chunk.step_begin, scratch);
    int64_t m = 0;
    for (; m + 32 <= block.rows; m += 32) RowBlock<true>(block, chunk, tiles, m, 32);
    const int64_t tail = block.rows - m;
    if (tail > 0) {
      const TileShape full = ctx.source.Shape();
      if (block.rows > 32) {
        TileShape shape = full;
        shape.rows0 = static_cast<int>(tail < 16 ? tail : 16);
        shape.rows1 = static_cast<int>(tail - shape.rows0);
        ConfigureTiles(shape);
      }
      tail > 16 ? RowBlock<true>(block, chunk, tiles, m, tail) : RowBlock<false>(block, chunk, tiles, m, tail);
      if (block.rows > 32) ConfigureTiles(full);
    }
    if (block.rows <= 32) block.pending.Finish();  // the next panel writes the same sums
  }

  // Up to 32 rows against a whole panel that is decoded on the way: step s + 2 becomes tiles while the
  // tile units work on step s, so that reading DRAM never waits for them.
  template <bool kTwoRowTiles>
  [[gnu::noinline]] static void FewRows(const Context& ctx, const std::byte* panel, int64_t row,
                                        int64_t rows, int64_t n, std::byte* totals) {
    constexpr int64_t kAhead = 2, kRing = 4, kFetch = 4096;
    alignas(64) std::byte ring[kRing][2048];
    alignas(64) std::byte partial[32 * kAmxRowBytes];
    const Source source = ctx.source;
    const int64_t stride = ctx.row_tile_stride(), mask = ctx.chunk_mask();
    const int64_t a_step = ctx.layout.tile_k * Dot::kElementBytes;
    const int64_t steps = ctx.layout.steps;
    const std::byte* a0 = ctx.RowTile(row);
    const std::byte* a1 = ctx.RowTile(row + 16);
    int64_t column = 0;
    for (int64_t s = 0; s < kAhead && s < steps; ++s) source.DecodeStep(panel, s, kFetch, ring[s]);
    ZeroC<kTwoRowTiles>();
    int64_t group_left = ctx.group_steps, g = 0;
    for (int64_t s = 0; s < steps; ++s) {
      if (s + kAhead < steps) source.DecodeStep(panel, s + kAhead, kFetch, ring[(s + kAhead) % kRing]);
      const int64_t at = ColumnOffset(column, mask);
      StepC<Dot, kTwoRowTiles>(a0 + at, a1 + at, stride, ring[s % kRing], a_step * 16);
      column += a_step;
      if (--group_left == 0 && ctx.grouped()) {
        StoreC<kTwoRowTiles>(partial);
        ZeroC<kTwoRowTiles>();
        Epilogue::AddGroup(ctx, panel, g++, row, rows, partial, totals);
        group_left = ctx.group_steps;
      }
    }
    if (!ctx.grouped()) {
      StoreC<kTwoRowTiles>(totals);
    } else if (group_left < ctx.group_steps) {  // the last group is short
      StoreC<kTwoRowTiles>(partial);
      Epilogue::AddGroup(ctx, panel, g, row, rows, partial, totals);
    }
    FinishRows(ctx, panel, row, rows, n, totals);
  }

  // A panel whose codes do not fit tiles (two-level weights) is multiplied by the source.
  static bool Unfit(const Context& ctx, int64_t panel, int64_t row, int64_t rows) {
    if constexpr (requires { Source::Fits(nullptr); }) {
      if (Source::Fits(ctx.Panel(panel))) return false;
      Source::RunUnfit(ctx.call, ctx.layout, ctx.Panel(panel), row, rows, panel * kAmxChannels);
      return true;
    }
    return false;
  }

  static void ManyRows(Block& block, int64_t panel_begin, int64_t panel_end) {
    const Context& ctx = block.ctx;
    const int64_t row_bytes = ctx.call.x.row_stride * Dot::kElementBytes;
    const int64_t together = block.rows * row_bytes > kAmxL2Bytes ? kAmxMaxPanels : 1;
    std::byte* const totals = block.totals;
    for (int64_t p = panel_begin; p < panel_end; p += together) {
      const int64_t end = p + together < panel_end ? p + together : panel_end;
      bool unfit[kAmxMaxPanels];
      for (int64_t q = p; q < end; ++q) unfit[q - p] = Unfit(ctx, q, block.row, block.rows);
      for (int64_t step = 0; step < ctx.layout.steps; step += ctx.chunk_steps) {
        for (int64_t q = p; q < end; ++q) {
          if (unfit[q - p]) continue;
          Chunk chunk{.panel = q, .step_begin = step, .step_end = ctx.ChunkEnd(step)};
          chunk.place = q - p;
          chunk.places = together;
          // Next: this chunk of the next panel, or the next chunk of the first, or another panel.
          const bool last = chunk.step_end == ctx.layout.steps;
          const int64_t next_panel = q + 1 < end ? q + 1 : (last ? end : p);
          const int64_t next_step = q + 1 < end ? step : (last ? 0 : chunk.step_end);
          // Beyond the last panel too: a caller that goes on with other rows or another weight comes back.
          const int64_t to = ctx.first_codes + ctx.ChunkEnd(next_step) * Source::StepBytes(ctx.layout);
          const int64_t from =
              next_step == 0 ? 0 : ctx.first_codes + next_step * Source::StepBytes(ctx.layout);
          chunk.next = ctx.Panel(next_panel) + from;
          chunk.next_bytes = to - from;
          block.totals = totals + (q - p) * kAmxMaxRows * kAmxRowBytes;
          PanelChunk(block, chunk);
        }
      }
    }
    block.pending.Finish();
    block.totals = totals;
  }

  static void RowsAndPanels(const Context& ctx, int64_t row, int64_t rows, int64_t panel_begin,
                            int64_t panel_end, std::byte* totals) {
    if constexpr (requires { &Source::DecodeStep; }) {
      if (rows <= 32) {
        for (int64_t p = panel_begin; p < panel_end; ++p) {
          if (Unfit(ctx, p, row, rows)) continue;
          const int64_t n = p * kAmxChannels;
          rows > 16 ? FewRows<true>(ctx, ctx.Panel(p), row, rows, n, totals)
                    : FewRows<false>(ctx, ctx.Panel(p), row, rows, n, totals);
        }
        return;
      }
    }
    Block block{.ctx = ctx, .row = row, .rows = rows, .totals = totals, .pending = {}};
    ManyRows(block, panel_begin, panel_end);
  }

  static void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    [[maybe_unused]] const typename Source::Mode mode;
    const Context ctx(call);
    if constexpr (requires { typename Source::WithoutTiles; }) {
      if (Source::WithoutTiles::Run(ctx, panel_begin, panel_end)) return;
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

// A source's ways to multiply a few rows without tiles: the first that accepts a call runs it.
template <typename... Ways>
struct AmxWithoutTiles {
  template <typename Context>
  static bool Run(const Context& ctx, int64_t panel_begin, int64_t panel_end) {
    return ((Ways::Accepts(ctx) && (Ways::Run(ctx, panel_begin, panel_end), true)) || ...);
  }
};

// Sources of tiles. Shape() is that of a full step; StepBytes what a step takes in the panel.

// Codes are the tiles: int8 or bf16.
template <typename DotType, typename ModeType>
struct DirectSource {
  using Dot = DotType;
  using Mode = ModeType;
  static constexpr int64_t kChunkSteps = 12;
  static constexpr int64_t kScratchBytes = 64;
  int64_t tile_k, codes;

  DirectSource(const WeightSpec&, const AmxLayout& layout) : tile_k(layout.tile_k), codes(layout.codes) {}
  static int64_t CodesOffset(const WeightSpec&, const AmxLayout& layout) { return layout.codes; }
  static int64_t StepBytes(const AmxLayout& layout) { return layout.tile_k * Dot::kElementBytes * 32; }
  TileShape Shape() const {
    const int bytes = static_cast<int>(tile_k) * Dot::kElementBytes;
    return {16, 16, bytes, bytes / 4};
  }
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

template <typename Source>
constexpr GemmKernel AmxKernel(const char* name, decltype(GemmKernel::accepts) accepts,
                               decltype(GemmKernel::columns) columns = nullptr) {
  return {.name = name,
          .isa = IsaLevel::kAmx,
          .accepts = accepts,
          .panel_channels = kAmxChannels,
          .panel_bytes = Amx<Source>::PanelBytes,
          .pack = Source::Pack,
          .run = Amx<Source>::Run,
          .reads_tiles = true,
          .columns = columns};
}

}  // namespace
}  // namespace octavo
