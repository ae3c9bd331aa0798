// SPDX-License-Identifier: Apache-2.0
// Many rows of bf16 activations x one decoded panel of 32 channels, in 12 x 32 tiles, so that
// all but a few registers hold sums, with totals of groups in L1. The same arithmetic per output as the
// direct tiles of decoded_bf16.h, hence the same bits. Include after simd_avx512.h.
#pragma once

#include "kernels/gemm/panel_tiles.h"

namespace octavo {
namespace {

// bf16 [pairs][32][2].
struct Bf16Panel {
  const std::byte* codes = nullptr;
  const float* group_scales = nullptr;    // [groups][32], or null: the weight has none
  const float* group_mins = nullptr;      // [groups][32] or null
  const float* channel_scales = nullptr;  // [32], or null: group scales, or none at all
  int64_t pairs = 0;                      // of columns
  int64_t group_pairs = 0;                // in a full group; `pairs` without groups
  bool grouped = false;                   // sums restart with every group
  const std::byte* next = nullptr;        // the next packed panel, to be fetched meanwhile
  int64_t next_lines = 0;
};

template <typename Pairs>
struct Bf16PanelProduct {
  using Tiles = PanelTiles<Bf16PanelProduct>;
  using Prefetch = typename Tiles::Prefetch;
  static constexpr int kChannels = Tiles::kChannels;
  static constexpr int64_t kStepX = 2;

  // Adds one pair of columns to the sums.
  template <int kRows>
  [[gnu::always_inline]] static void Step(const std::byte* codes, const uint16_t* x, int64_t stride,
                                          __m512 (&acc)[kRows][2]) {
    const typename Pairs::Pair w[2] = {Pairs::Split(_mm512_load_si512(codes)),
                                       Pairs::Split(_mm512_load_si512(codes + 64))};
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
      int32_t dword;
      __builtin_memcpy(&dword, x + m * stride, 4);
      const typename Pairs::Pair pair = Pairs::Split(_mm512_set1_epi32(dword));
      acc[m][0] = Pairs::Add(acc[m][0], w[0], pair);
      acc[m][1] = Pairs::Add(acc[m][1], w[1], pair);
    }
  }

  [[gnu::always_inline]] static void Store(const GemmCall& call, const Bf16Panel& panel, int64_t row, int64_t n,
                                           int m, int v, __m512 value) {
    alignas(64) static constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const bool token_scaled = call.x.spec.format == ActivationFormat::kFp8;
    StoreOutput(call, row + m, n + v * 16, value, token_scaled ? call.x.scales + row + m : nullptr,
                panel.channel_scales == nullptr ? kOnes : panel.channel_scales + v * 16);
  }

  template <int kRows>
  [[gnu::noinline]] static void PlainTile(const GemmCall& call, const Bf16Panel& panel, int64_t row,
                                          Prefetch prefetch, int64_t n) {
    const std::byte* codes = panel.codes;
    const auto* x = call.x.template Row<uint16_t>(row);
    __m512 acc[kRows][2];
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) acc[m][0] = acc[m][1] = _mm512_setzero_ps();
    Tiles::template Dot<kRows>(codes, x, call.x.row_stride, panel.pairs, prefetch, acc);
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) Store(call, panel, row, n, m, v, acc[m][v]);
    }
  }

  // Scales of groups: the weight's, the token's (fp8 in groups of 128 columns), or both.
  template <int kRows>
  [[gnu::noinline]] static void GroupedTile(const GemmCall& call, const Bf16Panel& panel, int64_t row,
                                            Prefetch prefetch, int64_t n) {
    const std::byte* codes = panel.codes;
    const auto* x = call.x.template Row<uint16_t>(row);
    const bool token_groups = call.x.spec.format == ActivationFormat::kFp8Group128;
    const int64_t per_row = call.x.scales_per_row(), sum_groups = call.x.sum_groups();
    const float* tokens = token_groups ? call.x.scales + row * per_row : nullptr;
    const float* sums = panel.group_mins != nullptr ? call.x.group_sums_f32 + row * sum_groups : nullptr;
    const float *scales = panel.group_scales, *mins = panel.group_mins;
    alignas(64) float total[kRows][kChannels] = {};
    int64_t left = panel.pairs;
    for (int64_t g = 0; left > 0; ++g) {
      __m512 acc[kRows][2];
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m) acc[m][0] = acc[m][1] = _mm512_setzero_ps();
      const int64_t pairs = left < panel.group_pairs ? left : panel.group_pairs;
      left -= pairs;
      Tiles::template Dot<kRows>(codes, x, call.x.row_stride, pairs, prefetch, acc);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const int64_t at = g * kChannels + v * 16;
        const __m512 weight = scales != nullptr ? _mm512_load_ps(scales + at) : _mm512_setzero_ps();
        const __m512 min = mins != nullptr ? _mm512_load_ps(mins + at) : _mm512_setzero_ps();
#pragma GCC unroll 12
        for (int m = 0; m < kRows; ++m) {
          __m512 scale = weight;
          if (token_groups) {
            const __m512 token = _mm512_set1_ps(tokens[m * per_row + g]);
            scale = scales != nullptr ? _mm512_mul_ps(token, weight) : token;
          }
          __m512 sum = _mm512_fmadd_ps(acc[m][v], scale, _mm512_load_ps(&total[m][v * 16]));
          if (mins != nullptr) sum = _mm512_fmadd_ps(_mm512_set1_ps(sums[m * sum_groups + g]), min, sum);
          _mm512_store_ps(&total[m][v * 16], sum);
        }
      }
    }
    for (int m = 0; m < kRows; ++m) {
      for (int v = 0; v < 2; ++v) Store(call, panel, row, n, m, v, _mm512_load_ps(&total[m][v * 16]));
    }
  }

  template <int kRows>
  static void Tile(const GemmCall& call, const Bf16Panel& panel, int64_t row, const Prefetch& prefetch, int64_t n) {
    if (panel.grouped) return GroupedTile<kRows>(call, panel, row, prefetch, n);
    PlainTile<kRows>(call, panel, row, prefetch, n);
  }

  static void Run(const GemmCall& call, const Bf16Panel& panel, int64_t n) { Tiles::Run(call, panel, panel.pairs, n); }
};

}  // namespace
}  // namespace octavo
