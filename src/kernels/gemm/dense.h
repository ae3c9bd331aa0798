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

  template <int kRows, bool kPrefetch>
  [[gnu::noinline]] static void Tile(const GemmCall& call, const std::byte* panel, int64_t row,
                                     int64_t n) {
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
    const int64_t ahead = static_cast<int64_t>(PanelBytes(*call.weight));
    const int64_t steps = Steps(*call.weight);
    for (int64_t s = 0; s < steps; ++s) {
      typename Dot::Weight weight[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const int64_t at = v * Dot::kVectorLanes * Dot::kWeightBytes;
        weight[v] = Dot::LoadWeight(w + at);
        if (kPrefetch && at % 64 == 0) __builtin_prefetch(w + at + ahead, 0, 2);
      }
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
        const auto broadcast = Dot::LoadX(x + m * stride);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[m][v] = Dot::Step(acc[m][v], weight[v], broadcast);
      }
      w += kStepBytes;
      x += Dot::kStepK * Dot::kXBytes;
    }
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

  template <bool kPrefetch>
  static void Tail(const GemmCall& call, const std::byte* panel, int64_t row, int64_t rows, int64_t n) {
    static_assert(Dot::kMaxRows <= 6);
    switch (rows) {
      case 1: return Tile<1, kPrefetch>(call, panel, row, n);
      case 2: return Tile<2, kPrefetch>(call, panel, row, n);
      case 3: return Tile<3, kPrefetch>(call, panel, row, n);
      case 4: return Tile<4, kPrefetch>(call, panel, row, n);
      case 5: if constexpr (Dot::kMaxRows > 5) return Tile<5, kPrefetch>(call, panel, row, n);
      default: break;
    }
  }

  static void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    constexpr int64_t kMax = Dot::kMaxRows;
    [[maybe_unused]] const typename Dot::Mode mode;
    const int64_t rows = call.x.rows;
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* panel = call.packed + p * static_cast<int64_t>(PanelBytes(*call.weight));
      const int64_t n = p * kChannels;
      // Up to one tile the hardware prefetcher does best; beyond, the first tile fetches the next panel.
      const bool prefetch = rows > kMax && p + 1 < panel_end;
      int64_t row = 0;
      if (prefetch) {
        Tile<kMax, true>(call, panel, 0, n);
        row = kMax;
      }
      for (; row + kMax <= rows; row += kMax) Tile<kMax, false>(call, panel, row, n);
      if (row < rows) Tail<false>(call, panel, row, rows - row, n);
    }
  }
};

struct NoMode {
  NoMode() {}
};

}  // namespace
}  // namespace octavo
