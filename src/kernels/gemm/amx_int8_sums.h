// SPDX-License-Identifier: Apache-2.0
// A few rows of int8 activations against int8 tiles without group scales, by vpdpbusd instead of tile
// products, which cost the same for 1 row as for 16 and read memory less evenly. The sums are exact, so
// the bits are those of the tiles.
//
// vpdpbusd takes unsigned codes: signed ones get an offset of 128, and 128 times the sum of a row's
// activations is taken out again. Include after amx.h.
#pragma once

#include "kernels/gemm/amx.h"

namespace octavo {
namespace {

// Up to kMaxRows rows: with more of them tile products are faster.
template <typename Source, int kMaxRows>
class AmxInt8Sums {
 public:
  using Kernel = Amx<Source>;
  using Context = typename Kernel::Context;

  static bool Accepts(const Context& ctx) {
    const ActivationView& x = ctx.call.x;
    return x.rows > 0 && x.rows <= kMaxRows && !x.tiled && !ctx.scales_groups();
  }

  static void Run(const Context& ctx, int64_t panel_begin, int64_t panel_end) {
    RunRows<kMaxRows>(ctx, panel_begin, panel_end);
  }

 private:
  template <int kRows>
  [[gnu::noinline]] static void RunRows(const Context& ctx, int64_t panel_begin, int64_t panel_end) {
    if constexpr (kRows > 1) {
      if (ctx.call.x.rows < kRows) return RunRows<kRows - 1>(ctx, panel_begin, panel_end);
    }
    int32_t offsets[kRows];
    for (int m = 0; m < kRows; ++m) offsets[m] = -128 * RowSum(ctx, m);
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      if (Kernel::Unfit(ctx, p, 0, kRows)) continue;
      alignas(64) std::byte totals[kRows * kAmxRowBytes];
      Panel<kRows>(ctx, ctx.Panel(p), offsets, totals);
      Kernel::FinishRows(ctx, ctx.Panel(p), 0, kRows, p * kAmxChannels, totals);
    }
  }

  // Over all columns of the tiles: where K ends before them, weights are 0 and any activation cancels out.
  static int32_t RowSum(const Context& ctx, int64_t row) {
    const auto* x = ctx.call.x.template Row<int8_t>(row);
    int32_t sum = 0;
    for (int64_t k = 0; k < ctx.layout.steps * ctx.layout.tile_k; ++k) sum += x[k];
    return sum;
  }

  // Dot products of a panel's 32 channels: totals[row][channel], int32.
  template <int kRows>
  [[gnu::noinline]] static void Panel(const Context& ctx, const std::byte* panel, const int32_t* offsets,
                                      std::byte* totals) {
    constexpr int64_t kFetch = 16384;
    alignas(64) std::byte scratch[2048];
    const Source source = ctx.source;
    const AmxLayout layout = ctx.layout;
    const int64_t quads = layout.tile_k / 4, stride = ctx.call.x.row_stride;
    const auto* x = ctx.call.x.template Row<int8_t>(0);
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(128));
    __m512i dot[kRows][2];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) dot[m][0] = dot[m][1] = _mm512_set1_epi32(offsets[m]);
    for (int64_t step = 0; step < layout.steps; ++step, x += layout.tile_k) {
      const std::byte* in = scratch;
      if constexpr (requires { &Source::DecodeStep; }) {
        source.DecodeStep(panel, step, kFetch, scratch);
      } else {
        in = source.Tiles(panel, step, 1, nullptr);
        for (int64_t line = 0; line < 2 * quads; ++line) __builtin_prefetch(in + kFetch + line * 64, 0, 2);
      }
      for (int64_t q = 0; q < quads; ++q) {
        const __m512i low = _mm512_xor_si512(_mm512_load_si512(in + q * 64), flip);
        const __m512i high = _mm512_xor_si512(_mm512_load_si512(in + (quads + q) * 64), flip);
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          int32_t dword;
          __builtin_memcpy(&dword, x + m * stride + 4 * q, 4);
          const __m512i broadcast = _mm512_set1_epi32(dword);
          dot[m][0] = _mm512_dpbusd_epi32(dot[m][0], low, broadcast);
          dot[m][1] = _mm512_dpbusd_epi32(dot[m][1], high, broadcast);
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      _mm512_store_si512(totals + m * kAmxRowBytes, dot[m][0]);
      _mm512_store_si512(totals + m * kAmxRowBytes + 64, dot[m][1]);
    }
  }
};

}  // namespace
}  // namespace octavo
