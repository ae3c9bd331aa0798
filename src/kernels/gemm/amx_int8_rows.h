// SPDX-License-Identifier: Apache-2.0
// A few rows of int8 activations against integers with float group scales, without tiles: a tile product
// costs the same for 1 row as for 16, and every group would wait for a round trip of its sums through
// memory. vpdpbusd on the panels of the tiles: the sums are exact, so the bits are those of the tiles.
//
// vpdpbusd takes unsigned codes: signed ones get an offset that the group sums take out again.
// Include after amx_decoded.h.
#pragma once

#include "kernels/gemm/amx_decoded.h"

namespace octavo {
namespace {

// Codes of a Source's panels as operands of vpdpbusd: `flip` makes signed codes unsigned.
struct NibbleOperands {
  static constexpr int kBlockK = 8, kQuads = 2, kOffset = 8;
  [[gnu::always_inline]] static void Decode(__m512i raw, __m512i flip, __m512i out[kQuads]) {
    const __m512i mask = _mm512_set1_epi8(15);
    out[0] = _mm512_ternarylogic_epi32(raw, mask, flip, 0x6a);  // (raw & mask) ^ flip
    out[1] = _mm512_ternarylogic_epi32(_mm512_srli_epi16(raw, 4), mask, flip, 0x6a);
  }
};

struct ByteOperands {
  static constexpr int kBlockK = 4, kQuads = 1, kOffset = 128;
  [[gnu::always_inline]] static void Decode(__m512i raw, __m512i flip, __m512i out[kQuads]) {
    out[0] = _mm512_xor_si512(raw, flip);
  }
};

template <typename Source, typename Operands>
class AmxInt8Rows {
 public:
  using Kernel = Amx<Source>;
  using Context = typename Kernel::Context;

  static bool Accepts(const Context& ctx) {
    const ActivationView& x = ctx.call.x;
    return x.rows > 0 && x.rows <= kMaxRows && !x.tiled && ctx.weight_groups && ctx.grouped();
  }

  [[gnu::noinline]] static void Run(const Context& ctx, int64_t panel_begin, int64_t panel_end) {
    ctx.token_groups ? RunRows<kMaxRows, true>(ctx, panel_begin, panel_end)
                     : RunRows<kMaxRows, false>(ctx, panel_begin, panel_end);
  }

 private:
  static constexpr int kMaxRows = 6;

  template <int kRows, bool kTokenGroups>
  static void RunRows(const Context& ctx, int64_t panel_begin, int64_t panel_end) {
    if constexpr (kRows > 1) {
      if (ctx.call.x.rows < kRows) return RunRows<kRows - 1, kTokenGroups>(ctx, panel_begin, panel_end);
    }
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      alignas(64) std::byte totals[kRows * kAmxRowBytes];
      if (ctx.call.weight->has_min) {
        Panel<kRows, kTokenGroups, true>(ctx, ctx.Panel(p), totals);
      } else {
        Panel<kRows, kTokenGroups, false>(ctx, ctx.Panel(p), totals);
      }
      Kernel::FinishRows(ctx, ctx.Panel(p), 0, kRows, p * kAmxChannels, totals);
    }
  }

  // Dot products of the columns of one k step; `in` has [2 halves][blocks] blocks of codes.
  template <int kRows>
  [[gnu::always_inline]] static void Step(const std::byte* in, int64_t blocks, const int8_t* x, int64_t stride,
                                          __m512i flip, __m512i (&dot)[kRows][2]) {
    for (int64_t b = 0; b < blocks; ++b) {
      __m512i quads[2][Operands::kQuads];
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::byte* at = in + (v * blocks + b) * 64;
        __builtin_prefetch(at + 16384, 0, 2);
        Operands::Decode(_mm512_load_si512(at), flip, quads[v]);
      }
#pragma GCC unroll 2
      for (int q = 0; q < Operands::kQuads; ++q) {
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          int32_t dword;
          __builtin_memcpy(&dword, x + m * stride + b * Operands::kBlockK + 4 * q, 4);
          const __m512i broadcast = _mm512_set1_epi32(dword);
#pragma GCC unroll 2
          for (int v = 0; v < 2; ++v) dot[m][v] = _mm512_dpbusd_epi32(dot[m][v], quads[v][q], broadcast);
        }
      }
    }
  }

  // A panel's 32 channels: totals[row][channel], scaled by group.
  template <int kRows, bool kTokenGroups, bool kMin>
  [[gnu::noinline]] static void Panel(const Context& ctx, const std::byte* panel, std::byte* totals) {
    const AmxLayout layout = ctx.layout;
    const ActivationView& view = ctx.call.x;
    const int64_t groups = ctx.groups, blocks = layout.tile_k / Operands::kBlockK, stride = view.row_stride;
    const int64_t scales_per_row = view.scales_per_row();
    const __m512i flip = _mm512_set1_epi8(kMin ? '\0' : static_cast<char>(Operands::kOffset));
    const std::byte* in = panel + layout.codes;
    const auto* x = view.template Row<int8_t>(0);
    __m512 total[kRows][2];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) total[m][0] = total[m][1] = _mm512_setzero_ps();
    int64_t left = layout.steps;
    for (int64_t g = 0; g < groups; ++g) {
      __m512i dot[kRows][2];
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
        const int32_t offset = kMin ? 0 : -Operands::kOffset * view.group_sums[m * groups + g];
        dot[m][0] = dot[m][1] = _mm512_set1_epi32(offset);
      }
      const int64_t steps = left < ctx.group_steps ? left : ctx.group_steps;
      left -= steps;
      for (int64_t s = 0; s < steps; ++s) {
        // The usual group of 32 without a loop.
        if (layout.tile_k == 32) {
          Step<kRows>(in, 32 / Operands::kBlockK, x, stride, flip, dot);
        } else {
          Step<kRows>(in, blocks, x, stride, flip, dot);
        }
        in += 2 * blocks * 64;
        x += layout.tile_k;
      }
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m512 scale = layout.scales.Load(panel + layout.header, g, v * 16);
        const __m512 min = kMin ? layout.scales.Load(panel + layout.mins, g, v * 16) : _mm512_setzero_ps();
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          __m512 factor = scale;
          if (kTokenGroups) {
            const float token = view.scales[m * scales_per_row + g / ctx.groups_per_token_scale];
            factor = _mm512_mul_ps(_mm512_set1_ps(token), scale);
          }
          total[m][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[m][v]), factor, total[m][v]);
          if (kMin) {
            const int64_t at = m * groups + g;
            const float sum = kTokenGroups ? view.group_sums_f32[at] : static_cast<float>(view.group_sums[at]);
            total[m][v] = _mm512_fmadd_ps(_mm512_set1_ps(sum), min, total[m][v]);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      _mm512_store_ps(totals + m * kAmxRowBytes, total[m][0]);
      _mm512_store_ps(totals + m * kAmxRowBytes + 64, total[m][1]);
    }
  }
};

}  // namespace
}  // namespace octavo
