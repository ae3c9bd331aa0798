// SPDX-License-Identifier: Apache-2.0
// The kernel for weights that need no unpacking: one dword (f16: half a dword) per channel and step
// feeds a dot product.
//
// Panel: [channel scales][steps][channels] elements of kWeightBytes. A tile of rows x channels keeps all accumulators in
// registers over the whole of K; the panel is read from DRAM once and stays in L2 for further tiles.
// `Dot` supplies the types and the step (one per data type and ISA); see the kernel files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/spread_prefetch.h"

namespace octavo {
namespace {

template <typename Dot>
struct Dense {
  static constexpr int kChannels = Dot::kVectors * Dot::kVectorLanes;
  static constexpr int64_t kStepBytes = kChannels * Dot::kWeightBytes;
  static constexpr int64_t kHeader = kChannels * 4;

  // Steps of one row; K is padded as gemm.h promises.
  static int64_t Steps(const WeightSpec& w) {
    return (w.k + Dot::kPadK - 1) / Dot::kPadK * Dot::kPadK / Dot::kStepK;
  }

  static size_t PanelBytes(const WeightSpec& w) {
    return static_cast<size_t>((kHeader + Steps(w) * kStepBytes + 63) / 64 * 64);
  }

  template <int kRows>
  [[gnu::always_inline]] static void Step(const std::byte* w, const std::byte* x, int64_t stride,
                                          typename Dot::Acc (&acc)[kRows][Dot::kVectors]) {
    typename Dot::Weight weight[Dot::kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < Dot::kVectors; ++v) {
      weight[v] = Dot::LoadWeight(w + v * Dot::kVectorLanes * Dot::kWeightBytes);
    }
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
      const auto broadcast = Dot::LoadX(x + m * stride);
#pragma GCC unroll 4
      for (int v = 0; v < Dot::kVectors; ++v) acc[m][v] = Dot::Step(acc[m][v], weight[v], broadcast);
    }
  }

  template <int kRows>
  [[gnu::noinline]] static void Tile(const GemmCall& call, const std::byte* panel, int64_t row,
                                     SpreadPrefetch prefetch, int64_t n) {
    constexpr int kVectors = Dot::kVectors;
    typename Dot::Acc acc[kRows][kVectors];
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[m][v] = Dot::Zero();
    }
    const auto* x = static_cast<const std::byte*>(call.x.data) + row * call.x.row_stride * Dot::kXBytes;
    const int64_t stride = call.x.row_stride * Dot::kXBytes;
    const std::byte* w = panel + kHeader;
    OutputPrefetch<kChannels / 16> output(call.y, row, kRows, n);
    int64_t steps = Steps(*call.weight);
    for (; steps >= SpreadPrefetch::kSteps; steps -= SpreadPrefetch::kSteps) {
      prefetch.Fetch();
      output.Fetch();
#pragma GCC unroll 8
      for (int64_t s = 0; s < SpreadPrefetch::kSteps; ++s) {
        Step<kRows>(w + s * kStepBytes, x + s * Dot::kStepK * Dot::kXBytes, stride, acc);
      }
      w += SpreadPrefetch::kSteps * kStepBytes;
      x += SpreadPrefetch::kSteps * Dot::kStepK * Dot::kXBytes;
    }
    for (; steps > 0; --steps, w += kStepBytes, x += Dot::kStepK * Dot::kXBytes) Step<kRows>(w, x, stride, acc);
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) KeepInRegister(acc[m][v]);
    }
    const auto* scales = reinterpret_cast<const float*>(panel);
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
      const float* token = call.x.scales == nullptr ? nullptr : call.x.scales + row + m;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const int64_t lane = v * Dot::kVectorLanes;
        StoreOutput(call, row + m, n + lane, Dot::Finish(acc[m][v], call.x, row + m), token,
                    scales + lane);
      }
    }
  }

  // The tile of exactly `rows` rows (1 .. kMax).
  template <int kMax>
  static void TileOf(int64_t rows, const GemmCall& call, const std::byte* panel, int64_t row,
                     const SpreadPrefetch& prefetch, int64_t n) {
    if constexpr (kMax > 1) {
      if (rows < kMax) return TileOf<kMax - 1>(rows, call, panel, row, prefetch, n);
    }
    Tile<kMax>(call, panel, row, prefetch, n);
  }

  static void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    constexpr int64_t kMax = Dot::kMaxRows;
    [[maybe_unused]] const typename Dot::Mode mode;
    const int64_t rows = call.x.rows, tiles = (rows + kMax - 1) / kMax;
    const auto panel_bytes = static_cast<int64_t>(PanelBytes(*call.weight));
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* panel = call.packed + p * panel_bytes;
      // With one row or two the hardware prefetcher does best.
      const int64_t lines = rows > 2 && p + 1 < panel_end ? panel_bytes / 64 : 0;
      int64_t row = 0;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t count = (rows - row + tiles - tile - 1) / (tiles - tile);  // even shares
        const SpreadPrefetch prefetch(panel + panel_bytes, lines, tile, tiles, Steps(*call.weight));
        TileOf<kMax>(count, call, panel, row, prefetch, p * kChannels);
        row += count;
      }
    }
  }
};

struct NoMode {
  NoMode() {}
};

}  // namespace
}  // namespace octavo
