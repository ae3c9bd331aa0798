// SPDX-License-Identifier: Apache-2.0
// One row of bf16 activations against nibbles, without tiles: a tile product costs the same for 1 row as
// for 16, and every group would wait for a round trip of its sums through memory.
//
// Nibbles become f32 by a 16-entry table, one shift and one permute per 16 weights. The even and the odd
// columns of 32 have a chain each, as in TDPBF16PS: the bits are those of the tiles. Include after amx.h.
#pragma once

#include "kernels/gemm/amx.h"

namespace octavo {
namespace {

template <typename Source>
class AmxNibbleRow {
 public:
  using Kernel = Amx<Source>;
  using Context = typename Kernel::Context;

  static bool Accepts(const Context& ctx) {
    return ctx.call.x.rows == 1 && !ctx.call.x.tiled && !ctx.token_groups && ctx.call.weight->k <= kMaxK;
  }

  [[gnu::noinline]] static void Run(const Context& ctx, int64_t panel_begin, int64_t panel_end) {
    alignas(64) float x[kMaxK];
    const auto* row = ctx.call.x.template Row<uint16_t>(0);
    for (int64_t k = 0; k < ctx.layout.steps * ctx.layout.tile_k; k += 16) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + k));
      _mm512_store_si512(x + k, _mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    }
    const AmxNibbleRow self(ctx, x);
    const auto panel_bytes = static_cast<int64_t>(Kernel::PanelBytes(*ctx.call.weight));
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* panel = ctx.call.packed + p * panel_bytes;
      alignas(64) std::byte totals[kAmxRowBytes];
      if (ctx.layout.tile_k == 32) {
        self.Panel<4>(panel, totals);
      } else {
        self.Panel<2>(panel, totals);
      }
      // Sums are in `totals` as the tiles leave them: scaled by group, or raw.
      Kernel::FinishRows(ctx, panel, 0, 1, p * kAmxChannels, totals);
    }
  }

 private:
  static constexpr int64_t kMaxK = 32768;

  AmxNibbleRow(const Context& ctx, const float* x) : ctx_(ctx), x_(x) {
    alignas(64) float entries[16];
    for (int i = 0; i < 16; ++i) {
      entries[i] = static_cast<float>(ctx.call.weight->has_min || i < 8 ? i : i - 16);
    }
    table_ = _mm512_load_ps(entries);
  }

  // A panel's 32 channels; `kBlocks` blocks of 8 columns per k step and half.
  template <int kBlocks>
  [[gnu::always_inline]] void Panel(const std::byte* panel, std::byte* totals) const {
    const AmxLayout layout = ctx_.layout;
    const bool grouped = ctx_.grouped(), has_min = ctx_.call.weight->has_min;
    const float* sums = ctx_.call.x.group_sums_f32;
    const std::byte* in = panel + layout.codes;
    const float* x = x_;
    __m512 total[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    int64_t left = layout.steps;
    for (int64_t g = 0; g < ctx_.groups; ++g) {
      __m512 acc[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
      const int64_t steps = left < ctx_.group_steps ? left : ctx_.group_steps;
      left -= steps;
      for (int64_t s = 0; s < steps; ++s) {
        acc[0] = _mm512_add_ps(acc[0], HalfStep<kBlocks>(in, x));
        acc[1] = _mm512_add_ps(acc[1], HalfStep<kBlocks>(in + kBlocks * 64, x));
        in += 2 * kBlocks * 64;
        x += kBlocks * 8;
      }
      for (int v = 0; v < 2; ++v) {
        if (!grouped) {
          total[v] = acc[v];
          continue;
        }
        total[v] = _mm512_fmadd_ps(acc[v], layout.scales.Load(panel + layout.header, g, v * 16), total[v]);
        if (!has_min) continue;
        total[v] = _mm512_fmadd_ps(_mm512_set1_ps(sums[g]), layout.scales.Load(panel + layout.mins, g, v * 16),
                                   total[v]);
      }
    }
    _mm512_store_ps(totals, total[0]);
    _mm512_store_ps(totals + 64, total[1]);
  }

  // The even columns' sum plus the odd columns', over 16 channels.
  template <int kBlocks>
  [[gnu::always_inline]] __m512 HalfStep(const std::byte* in, const float* x) const {
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) {
      __builtin_prefetch(in + b * 64 + 16384, 0, 2);
      const __m512i raw = _mm512_load_si512(in + b * 64);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const __m512 w_even = _mm512_permutexvar_ps(_mm512_srli_epi32(raw, 4 * j), table_);
        const __m512 w_odd = _mm512_permutexvar_ps(_mm512_srli_epi32(raw, 4 * j + 16), table_);
        even = _mm512_fmadd_ps(_mm512_set1_ps(x[b * 8 + 2 * j]), w_even, even);
        odd = _mm512_fmadd_ps(_mm512_set1_ps(x[b * 8 + 2 * j + 1]), w_odd, odd);
      }
    }
    return _mm512_add_ps(even, odd);
  }

  const Context& ctx_;
  const float* x_;
  __m512 table_;
};

}  // namespace
}  // namespace octavo
