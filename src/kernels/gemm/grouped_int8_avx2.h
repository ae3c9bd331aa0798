// SPDX-License-Identifier: Apache-2.0
// int8 activations x integers, 256 bits at a time: scales per channel, groups with f32 or two-level scales.
// 6 x 16 tiles; more rows than a few share one decoded panel, scales included.
//
// Panels of 16 channels as in grouped_layout.h. `Codes` says how codes are packed and multiplied:
//   kBlockK        columns in a block of 64 bytes, or of 128 bytes once it is decoded
//   kDirectTile    rows of a tile that decodes blocks as it uses them
//   kOffsetSigned  which codes are stored with an offset: signed or unsigned ones
//   Correct()      takes it out of a dot product, given the group's sum of activations
//   kTwoLevel      whether weights of two levels come here; else those with a scale per channel do
//   X, Rows()      what activations are multiplied as, and `rows` rows of them in XBytes() of memory
//   BlockRows()    how many rows to take at a time
//   GroupDot()     dots[row] = sums over the blocks of one group
#pragma once

#include "kernels/gemm/grouped_layout.h"
#include "kernels/gemm/scratch.h"
#include "kernels/gemm/simd_avx2.h"

namespace octavo {
namespace {

[[gnu::always_inline]] inline __m256i Load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
[[gnu::always_inline]] inline __m256i BroadcastDword(const void* p) {
  int32_t dword;
  __builtin_memcpy(&dword, p, 4);
  return _mm256_set1_epi32(dword);
}

// kFloatPerToken: the activations have groups, too.
enum class Scales { kChannel, kFloat, kFloatPerToken, kTwoLevel };

template <typename Codes>
struct GroupedInt8 {
  using Layout = GroupedLayout<16, Codes::kBlockK>;
  using X = typename Codes::X;
  static constexpr int kChannels = 16;
  static constexpr int kMaxRows = 6;
  static constexpr int64_t kDirectRows = 2 * Codes::kDirectTile;  // up to here blocks are decoded as they are used
  static constexpr int64_t kPackedBlock = 64, kDecodedBlock = 128;

  // A panel with its scales as f32 and its codes as nibbles or decoded.
  struct Panel {
    const Layout& layout;
    const std::byte* codes;
    const float* scales;
    const float* mins;  // or null
    const std::byte *scales2, *zeros2;
    const X* x;  // of row `first_row`
    int64_t x_stride, first_row;
  };

  // What the rows of a tile have per group, all in registers while tiles write to memory.
  struct RowGroups {
    const int32_t* sums;       // [rows][groups]
    const float* scaled_sums;  // [rows][groups], kFloatPerToken only
    const float* tokens;       // [rows][tokens_per_row]
    int64_t groups, tokens_per_row, group_size;

    RowGroups(const GemmCall& call, const Layout& layout, int64_t row)
        : sums(call.x.group_sums + row * layout.groups),
          scaled_sums(call.x.group_sums_f32 == nullptr ? nullptr : call.x.group_sums_f32 + row * layout.groups),
          tokens(call.x.scales + row * call.x.scales_per_row()),
          groups(layout.groups),
          tokens_per_row(call.x.scales_per_row()),
          group_size(call.weight->group_size) {}
  };

  template <int kRows, bool kDecoded, Scales kScales>
  [[gnu::noinline]] static void Tile(const GemmCall& call, const Panel panel, int64_t row, int64_t n) {
    const Layout& layout = panel.layout;
    const RowGroups x_groups(call, layout, row);
    const int64_t group_blocks = layout.group_blocks;
    const int64_t stride = panel.x_stride;
    const X* x = panel.x + (row - panel.first_row) * stride;
    const std::byte* codes = panel.codes;
    alignas(32) float total[kRows][kChannels] = {};
    alignas(32) int32_t dots[kRows][kChannels];
    int64_t left = layout.total_blocks;
    for (int64_t g = 0; g < x_groups.groups; ++g) {
      const int64_t blocks = left < group_blocks ? left : group_blocks;
      left -= blocks;
      Codes::template GroupDot<kRows, kDecoded>(codes, x, stride, blocks, dots);
      codes += blocks * (kDecoded ? kDecodedBlock : kPackedBlock);
      x += blocks * Codes::kBlockK;
      if constexpr (kScales == Scales::kTwoLevel) {
        AddTwoLevel<kRows>(panel.scales2 + g * kChannels, dots, total);
      } else if constexpr (kScales == Scales::kChannel) {
        Convert<kRows>(dots, total);
      } else {
        AddFloat<kRows, kScales>(panel, x_groups, g, dots, total);
      }
    }
    if (kScales == Scales::kTwoLevel) FinishTwoLevel<kRows>(panel, x_groups, total);
    alignas(32) static constexpr float kOnes[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    for (int m = 0; m < kRows; ++m) {
      for (int v = 0; v < 2; ++v) {
        StoreOutput(call, row + m, n + v * 8, _mm256_load_ps(total[m] + v * 8),
                    kScales == Scales::kFloatPerToken ? nullptr : call.x.scales + row + m,
                    kScales == Scales::kTwoLevel || kScales == Scales::kChannel ? panel.scales + v * 8 : kOnes);
      }
    }
  }

  template <int kRows>
  static void Convert(const int32_t (*dots)[kChannels], float (*total)[kChannels]) {
    for (int m = 0; m < kRows; ++m) {
      for (int v = 0; v < 2; ++v) _mm256_store_ps(total[m] + v * 8, _mm256_cvtepi32_ps(Load(dots[m] + v * 8)));
    }
  }

  // total += dots * scale2, all int32.
  template <int kRows>
  [[gnu::always_inline]] static void AddTwoLevel(const std::byte* scales2, const int32_t (*dots)[kChannels],
                                                 float (*total)[kChannels]) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __m256i scale =
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales2 + v * 8)));
#pragma GCC unroll 6
      for (int m = 0; m < kRows; ++m) {
        auto* out = reinterpret_cast<__m256i*>(total[m] + v * 8);
        const __m256i scaled = _mm256_mullo_epi32(Load(dots[m] + v * 8), scale);
        _mm256_store_si256(out, _mm256_add_epi32(_mm256_load_si256(out), scaled));
      }
    }
  }

  // total += dots * scale + sum * min.
  template <int kRows, Scales kScales>
  [[gnu::always_inline]] static void AddFloat(const Panel& panel, const RowGroups& x, int64_t g,
                                              const int32_t (*dots)[kChannels], float (*total)[kChannels]) {
    constexpr bool kPerToken = kScales == Scales::kFloatPerToken;
    const __m256 scale[2] = {_mm256_loadu_ps(panel.scales + g * kChannels),
                             _mm256_loadu_ps(panel.scales + g * kChannels + 8)};
    const bool offset = Codes::kOffsetSigned == (panel.mins == nullptr);
    const float* token = kPerToken ? x.tokens + g * x.group_size / 32 : nullptr;
#pragma GCC unroll 6
    for (int m = 0; m < kRows; ++m) {
      const int64_t at = m * x.groups + g;
      const __m256i offset_sum = _mm256_set1_epi32(offset ? x.sums[at] : 0);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m256 dot = _mm256_cvtepi32_ps(Codes::Correct(Load(dots[m] + v * 8), offset_sum));
        __m256 factor = scale[v];
        if (kPerToken) factor = _mm256_mul_ps(_mm256_broadcast_ss(token + m * x.tokens_per_row), factor);
        __m256 acc = _mm256_fmadd_ps(dot, factor, _mm256_load_ps(total[m] + v * 8));
        if (panel.mins != nullptr) {
          const __m256 sum = _mm256_set1_ps(kPerToken ? x.scaled_sums[at] : static_cast<float>(x.sums[at]));
          acc = _mm256_fmadd_ps(sum, _mm256_loadu_ps(panel.mins + g * kChannels + v * 8), acc);
        }
        _mm256_store_ps(total[m] + v * 8, acc);
      }
    }
  }

  // Takes zero points out, minus the sum over g of (zero2 * scale2)[g] * group_sum[g], and converts.
  template <int kRows>
  static void FinishTwoLevel(const Panel& panel, const RowGroups& x, float (*total)[kChannels]) {
    for (int m = 0; m < kRows; ++m) {
      for (int v = 0; v < 2; ++v) {
        const std::byte* zeros = panel.zeros2 + v * 32;
        __m256i acc = _mm256_load_si256(reinterpret_cast<const __m256i*>(total[m] + v * 8));
        for (int64_t g = 0; g < x.groups; g += 2, zeros += kChannels * 4) {
          const __m256i pair = _mm256_set1_epi32(SumPair(x.sums + m * x.groups, g, x.groups));
          acc = _mm256_sub_epi32(acc, _mm256_madd_epi16(Load(zeros), pair));
        }
        _mm256_store_ps(total[m] + v * 8, _mm256_cvtepi32_ps(acc));
      }
    }
  }

  template <int kMax, bool kDecoded, Scales kScales>
  static void TileOf(int64_t rows, const GemmCall& call, const Panel& panel, int64_t row, int64_t n) {
    if constexpr (kMax > 1) {
      if (rows < kMax) return TileOf<kMax - 1, kDecoded, kScales>(rows, call, panel, row, n);
    }
    Tile<kMax, kDecoded, kScales>(call, panel, row, n);
  }

  template <Scales kScales>
  static void Rows(const GemmCall& call, const Panel& panel, int64_t rows, int64_t n) {
    const bool direct = rows <= kDirectRows;
    const int64_t tiles = DivUp(rows, direct ? Codes::kDirectTile : kMaxRows), end = panel.first_row + rows;
    for (int64_t tile = 0, row = panel.first_row; tile < tiles; ++tile) {
      const int64_t count = DivUp(end - row, tiles - tile);  // even shares
      if (direct) {
        TileOf<Codes::kDirectTile, false, kScales>(count, call, panel, row, n);
      } else {
        TileOf<kMaxRows, true, kScales>(count, call, panel, row, n);
      }
      row += count;
    }
  }

  static size_t PanelBytes(const WeightSpec& w) { return Layout(w).PanelBytes(); }

  static void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
    const Layout layout(w);
    layout.PackScales(w, rows, panel);
    std::byte* out = panel + layout.codes;
    for (int64_t b = 0; b < layout.total_blocks; ++b) {
      for (int64_t c = 0; c < kChannels; ++c) {
        uint8_t block[Codes::kBlockK] = {};
        const int64_t left = w.k - b * Codes::kBlockK;
        __builtin_memcpy(block, rows.codes.data() + c * w.k + b * Codes::kBlockK,
                         static_cast<size_t>(left < 0 ? 0 : (left < Codes::kBlockK ? left : Codes::kBlockK)));
        Codes::Pack(block, c, IsSigned(w), out + b * kPackedBlock);
      }
    }
  }

  static bool IsSigned(const WeightSpec& w) { return !w.has_min && w.scales != ScaleLayout::kTwoLevel; }

  // Parts of thread scratch.
  struct Scratch {
    float *scales, *mins;
    X* x;
    std::byte* codes;

    Scratch(const Layout& layout, int64_t rows, int64_t cols) {
      const int64_t scale_bytes = layout.groups * kChannels * 4;
      const int64_t x_bytes = RoundUp(Codes::XBytes(rows, cols), 64);
      const int64_t code_bytes = rows > kDirectRows ? layout.total_blocks * kDecodedBlock : 0;
      std::byte* at = GemmScratch(static_cast<size_t>(2 * scale_bytes + x_bytes + code_bytes));
      scales = reinterpret_cast<float*>(at);
      mins = reinterpret_cast<float*>(at + scale_bytes);
      x = reinterpret_cast<X*>(at + 2 * scale_bytes);
      codes = at + 2 * scale_bytes + x_bytes;
    }
  };

  static void Multiply(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    const Layout layout(*call.weight);
    const int64_t all = call.x.rows;
    for (int64_t first = 0; first < all;) {
      const int64_t most = Codes::BlockRows(call.x.cols);
      const int64_t rows = all - first < most ? all - first : most;
      MultiplyRows(call, layout, first, rows, panel_begin, panel_end);
      first += rows;
    }
  }

  static void MultiplyRows(const GemmCall& call, const Layout& layout, int64_t first, int64_t rows,
                           int64_t panel_begin, int64_t panel_end) {
    const bool has_min = call.weight->has_min;
    const Scratch scratch(layout, rows, call.x.cols);
    int64_t stride = call.x.row_stride;
    const X* x = Codes::Rows(call.x.template Row<int8_t>(first), rows, call.x.cols, scratch.x, stride);
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* packed = call.packed + p * static_cast<int64_t>(layout.PanelBytes());
      Panel panel{layout, packed + layout.codes, reinterpret_cast<const float*>(packed), nullptr,
                  packed + layout.scales2, packed + layout.zeros2, x, stride, first};
      if (!layout.two_level) panel.scales = layout.scales.Expand(packed, scratch.scales);
      if (has_min) panel.mins = layout.scales.Expand(packed + layout.mins, scratch.mins);
      if (rows > kDirectRows) panel.codes = Decode(layout, panel.codes, scratch.codes);
      AllRows(call, panel, rows, p * kChannels);
    }
  }

  static void AllRows(const GemmCall& call, const Panel& panel, int64_t rows, int64_t n) {
    if constexpr (Codes::kTwoLevel) {
      if (panel.layout.two_level) return Rows<Scales::kTwoLevel>(call, panel, rows, n);
    } else {
      if (call.weight->scales != ScaleLayout::kGroup) return Rows<Scales::kChannel>(call, panel, rows, n);
    }
    if (call.x.spec.format == ActivationFormat::kInt8Group32) {
      return Rows<Scales::kFloatPerToken>(call, panel, rows, n);
    }
    Rows<Scales::kFloat>(call, panel, rows, n);
  }

  static const std::byte* Decode(const Layout& layout, const std::byte* codes, std::byte* out) {
    for (int64_t b = 0; b < layout.total_blocks; ++b) {
      __builtin_prefetch(codes + b * kPackedBlock + 4096, 0, 3);
      Codes::Decode(codes + b * kPackedBlock, out + b * kDecodedBlock);
    }
    return out;
  }
};

}  // namespace
}  // namespace octavo
