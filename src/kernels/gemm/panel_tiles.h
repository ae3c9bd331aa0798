// SPDX-License-Identifier: Apache-2.0
// What products of many rows with a decoded panel of 32 channels share: tiles of 12 x 32 with all sums in
// registers, walking K while the next panel and the outputs are fetched. Include after simd_avx512.h.
//
// `Product` supplies
//   kStepX                               elements of a row that one step of 128 bytes of the panel multiplies
//   Step<rows>(codes, x, stride, acc)    adds one step to the sums
//   Tile<rows>(call, panel, row, prefetch, n)
#pragma once

#include "kernels/gemm/spread_prefetch.h"

namespace octavo {
namespace {

template <typename Product>
struct PanelTiles {
  static constexpr int kChannels = 32;
  static constexpr int kMaxRows = 12;
  static constexpr int64_t kStepBytes = kChannels * 4;

  struct Prefetch {
    SpreadPrefetch panel;
    OutputPrefetch<2> output;
  };

  // Adds `steps` to the sums; `codes` and `x` move on.
  template <int kRows, typename X, typename Acc>
  [[gnu::always_inline]] static void Dot(const std::byte*& codes, const X*& x, int64_t stride, int64_t steps,
                                         Prefetch& prefetch, Acc (&acc)[kRows][2]) {
    constexpr int64_t kStepX = Product::kStepX;
    for (; steps >= SpreadPrefetch::kSteps; steps -= SpreadPrefetch::kSteps) {
      prefetch.panel.Fetch();
      prefetch.output.Fetch();
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) Product::template Step<kRows>(codes + i * kStepBytes, x + i * kStepX, stride, acc);
      codes += 8 * kStepBytes;
      x += 8 * kStepX;
    }
    for (; steps > 0; --steps, codes += kStepBytes, x += kStepX) Product::template Step<kRows>(codes, x, stride, acc);
#pragma GCC unroll 12
    for (int m = 0; m < kRows; ++m) {
      KeepInRegister(acc[m][0]);
      KeepInRegister(acc[m][1]);
    }
  }

  // All rows of a call; the panel has `steps` and says what to fetch meanwhile.
  template <typename Panel>
  static void Run(const GemmCall& call, const Panel& panel, int64_t steps, int64_t n) {
    const int64_t rows = call.x.rows, tiles = DivUp(rows, kMaxRows);
    int64_t row = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t count = DivUp(rows - row, tiles - tile);  // even shares: small tiles are slow
      const Prefetch prefetch{{panel.next, panel.next_lines, tile, tiles, steps}, {call.y, row, count, n}};
      TileOf<kMaxRows>(count, call, panel, row, prefetch, n);
      row += count;
    }
  }

 private:
  // The tile of exactly `rows` rows (1 .. kMax).
  template <int kMax, typename Panel>
  static void TileOf(int64_t rows, const GemmCall& call, const Panel& panel, int64_t row, const Prefetch& prefetch,
                     int64_t n) {
    if constexpr (kMax > 1) {
      if (rows < kMax) return TileOf<kMax - 1>(rows, call, panel, row, prefetch, n);
    }
    Product::template Tile<kMax>(call, panel, row, prefetch, n);
  }
};

}  // namespace
}  // namespace octavo
