// SPDX-License-Identifier: Apache-2.0
// Many rows of int8 activations x one decoded panel of 32 channels, by vpdpbusd: 12 x 32 tiles, so that
// all but a few registers hold sums, with totals of groups in L1. Include after simd_avx512.h.
#pragma once

#include "kernels/gemm/grouped_layout.h"
#include "kernels/gemm/panel_tiles.h"

namespace octavo {
namespace {

// Bytes [quads][32][4], unsigned: code + offset; with two levels code * scale2.
struct DecodedPanel {
  const std::byte* codes = nullptr;
  const float* scales = nullptr;  // [groups][32]; two-level: [32]
  const float* mins = nullptr;    // [groups][32] or null
  const std::byte* zeros = nullptr;  // two-level: zero2 * scale2, pairs of groups [32][2] s16
  int32_t offset = 0;
  int64_t quads = 0;        // of columns
  int64_t groups = 0;
  int64_t group_quads = 0;  // in a full group
  const std::byte* next = nullptr;  // the next packed panel, to be fetched meanwhile
  int64_t next_lines = 0;
};

struct DecodedInt8 {
  using Tiles = PanelTiles<DecodedInt8>;
  using Prefetch = Tiles::Prefetch;
  static constexpr int kChannels = Tiles::kChannels;
  static constexpr int64_t kStepX = 4;

  // Group sums fit int16, so that the offset of a group costs one instruction.
  static bool Accepts(const WeightSpec& w) { return w.group_size <= 256; }

  // Adds one quad of columns to the sums.
  template <int kRows>
  [[gnu::always_inline]] static void Step(const std::byte* codes, const int8_t* x, int64_t stride,
                                          __m512i (&dot)[kRows][2]) {
    const __m512i w[2] = {_mm512_load_si512(codes), _mm512_load_si512(codes + 64)};
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
      int32_t dword;
      __builtin_memcpy(&dword, x + m * stride, 4);
      const __m512i broadcast = _mm512_set1_epi32(dword);
      dot[m][0] = _mm512_dpbusd_epi32(dot[m][0], w[0], broadcast);
      dot[m][1] = _mm512_dpbusd_epi32(dot[m][1], w[1], broadcast);
    }
  }

  template <int kRows>
  [[gnu::noinline]] static void TwoLevelTile(const GemmCall& call, const DecodedPanel& panel, int64_t row,
                                             Prefetch prefetch, int64_t n) {
    const std::byte* codes = panel.codes;
    const auto* x = call.x.template Row<int8_t>(row);
    __m512i dot[kRows][2];
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) dot[m][0] = dot[m][1] = _mm512_setzero_si512();
    Tiles::Dot<kRows>(codes, x, call.x.row_stride, panel.quads, prefetch, dot);
    // Zero points: minus the sum over g of (zero2 * scale2)[g] * group_sum[g], two groups at a time.
    const int32_t* sums = call.x.group_sums + row * panel.groups;
    const std::byte* zeros = panel.zeros;
    const __m512i zero = _mm512_setzero_si512();
    for (int64_t g = 0; g < panel.groups; g += 2, zeros += 128) {
      const __m512i minus[2] = {_mm512_sub_epi16(zero, _mm512_load_si512(zeros)),
                                _mm512_sub_epi16(zero, _mm512_load_si512(zeros + 64))};
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m) {
        const __m512i pair = _mm512_set1_epi32(SumPair(sums + m * panel.groups, g, panel.groups));
        dot[m][0] = _mm512_dpwssd_epi32(dot[m][0], minus[0], pair);
        dot[m][1] = _mm512_dpwssd_epi32(dot[m][1], minus[1], pair);
      }
    }
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        KeepInRegister(dot[m][v]);
        StoreOutput(call, row + m, n + v * 16, _mm512_cvtepi32_ps(dot[m][v]), call.x.scales + row + m,
                    panel.scales + v * 16);
      }
    }
  }

  // kTokenGroups: the activations have scales per 32 columns.
  template <int kRows, bool kTokenGroups>
  [[gnu::noinline]] static void FloatTile(const GemmCall& call, const DecodedPanel& panel, int64_t row,
                                          Prefetch prefetch, int64_t n) {
    const std::byte* codes = panel.codes;
    const auto* x = call.x.template Row<int8_t>(row);
    const int64_t stride = call.x.row_stride, groups = panel.groups, group_quads = panel.group_quads;
    const int32_t* sums = call.x.group_sums + row * groups;
    const float* scaled_sums = kTokenGroups ? call.x.group_sums_f32 + row * groups : nullptr;
    const int64_t per_row = call.x.scales_per_row(), group_size = call.weight->group_size;
    const float* tokens = call.x.scales + row * per_row;
    const float *scales = panel.scales, *mins = panel.mins;
    const __m512i minus_offset = _mm512_set1_epi32(-panel.offset & 0xffff);  // for the low half of a sum
    alignas(64) float total[kRows][kChannels] = {};
    int64_t left = panel.quads;
    for (int64_t g = 0; g < groups; ++g, scales += kChannels) {
      __m512i dot[kRows][2];
#pragma GCC unroll 12
      for (int m = 0; m < kRows; ++m) {
        dot[m][0] = dot[m][1] = _mm512_madd_epi16(_mm512_set1_epi32(sums[m * groups + g]), minus_offset);
      }
      const int64_t quads = left < group_quads ? left : group_quads;
      left -= quads;
      Tiles::Dot<kRows>(codes, x, stride, quads, prefetch, dot);
      const float* token = tokens + (kTokenGroups ? g * group_size / 32 : 0);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m512 scale = _mm512_loadu_ps(scales + v * 16);
#pragma GCC unroll 12
        for (int m = 0; m < kRows; ++m) {
          __m512 factor = scale;
          if (kTokenGroups) factor = _mm512_mul_ps(_mm512_set1_ps(token[m * per_row]), scale);
          const __m512 acc = _mm512_load_ps(&total[m][v * 16]);
          _mm512_store_ps(&total[m][v * 16], _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[m][v]), factor, acc));
        }
      }
      if (mins == nullptr) continue;
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m512 min = _mm512_loadu_ps(mins + g * kChannels + v * 16);
#pragma GCC unroll 12
        for (int m = 0; m < kRows; ++m) {
          const int64_t at = m * groups + g;
          const float sum = kTokenGroups ? scaled_sums[at] : static_cast<float>(sums[at]);
          const __m512 acc = _mm512_load_ps(&total[m][v * 16]);
          _mm512_store_ps(&total[m][v * 16], _mm512_fmadd_ps(_mm512_set1_ps(sum), min, acc));
        }
      }
    }
    alignas(64) static constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (int m = 0; m < kRows; ++m) {
      for (int v = 0; v < 2; ++v) {
        StoreOutput(call, row + m, n + v * 16, _mm512_load_ps(&total[m][v * 16]),
                    kTokenGroups ? nullptr : call.x.scales + row + m, kOnes);
      }
    }
  }

  template <int kRows>
  static void Tile(const GemmCall& call, const DecodedPanel& panel, int64_t row, const Prefetch& prefetch, int64_t n) {
    if (panel.zeros != nullptr) return TwoLevelTile<kRows>(call, panel, row, prefetch, n);
    if (call.x.spec.format == ActivationFormat::kInt8Group32) {
      return FloatTile<kRows, true>(call, panel, row, prefetch, n);
    }
    FloatTile<kRows, false>(call, panel, row, prefetch, n);
  }

  static void Run(const GemmCall& call, const DecodedPanel& panel, int64_t n) {
    Tiles::Run(call, panel, panel.quads, n);
  }
};

}  // namespace
}  // namespace octavo
