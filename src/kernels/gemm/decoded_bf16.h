// SPDX-License-Identifier: Apache-2.0
// The kernel for weights that are decoded to bf16 in registers, with or without group scales. `Pairs`
// multiplies: by vdpbf16ps (bf16_pairs_avx512_bf16.h) or as it does (bf16_pairs_avx512.h).
//
// Panel of 32 channels: a section of scales, one of mins when there are (group_scales.h), codes
// [block][2][64 bytes].
// Few rows walk both vectors of a panel at once (one sequential stream from DRAM); with group scales,
// more rows take one vector at a time so that totals and partial sums fit the registers. Many rows have
// the panel decoded once (decoded_bf16_panel.h).
#pragma once

#include "kernels/gemm/decode_avx512.h"
#include "kernels/gemm/decoded_bf16_panel.h"
#include "kernels/gemm/group_scales.h"
#include "kernels/gemm/scratch.h"

namespace octavo {
namespace {

template <typename Decoder, typename Pairs>
struct DecodedBf16 {
  static constexpr int kChannels = 32;
  static constexpr int64_t kBlockBytes = 2 * 64;
  // Accumulators and decoded pairs of two vectors must fit 32 registers with a few to spare.
  static constexpr int kPlainRows = Decoder::kPairs == 4 ? 8 : 10;

  // Groups of one row: where chains restart.
  struct Groups {
    int64_t count;   // 1 without groups
    int64_t size;    // columns per group
    int64_t blocks;  // in a full group
    int64_t total_blocks;

    Groups(const WeightSpec& w, bool group128) {
      size = w.scales == ScaleLayout::kGroup ? w.group_size : (group128 ? 128 : w.k);
      if (size > w.k) size = w.k;
      count = DivUp(w.k, size);
      blocks = DivUp(size, Decoder::kBlockK);
      total_blocks = DivUp(RoundUp(w.k, 8), Decoder::kBlockK);
      if (count == 1) blocks = total_blocks;
    }
  };

  static int64_t MinsOffset(const WeightSpec& w) { return GroupScales<kChannels>(w).bytes(); }
  static int64_t CodesOffset(const WeightSpec& w) { return MinsOffset(w) * (w.has_min ? 2 : 1); }
  static size_t PanelBytes(const WeightSpec& w) {
    return static_cast<size_t>(CodesOffset(w) + Groups(w, false).total_blocks * kBlockBytes);
  }

  static void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
    const GroupScales<kChannels> scales(w);
    scales.Pack(rows.scales, rows.super_scales, panel);
    if (w.has_min) scales.Pack(rows.mins, rows.super_mins, panel + MinsOffset(w));
    std::byte* out = panel + CodesOffset(w);
    const int64_t blocks = Groups(w, false).total_blocks;
    for (int64_t b = 0; b < blocks; ++b) {
      for (int v = 0; v < 2; ++v) {
        Decoder::Pack(rows.codes.data() + v * 16 * w.k, w.k, b * Decoder::kBlockK, w.k,
                      out + b * kBlockBytes + v * 64);
      }
    }
  }

  template <int kRows, int kVectors, bool kGrouped>
  [[gnu::noinline]] static void Tile(const GemmCall& call, const std::byte* panel, int64_t row,
                                     int vector, int64_t n) {
    const WeightSpec& w = *call.weight;
    const bool group128 = call.x.spec.format == ActivationFormat::kFp8Group128;
    const bool weight_groups = w.scales == ScaleLayout::kGroup;
    const Groups groups(w, group128);
    const Decoder decoder(w);
    const GroupScales<kChannels> scales(w);
    const std::byte* mins = panel + MinsOffset(w);
    const std::byte* codes = panel + CodesOffset(w) + vector * 64;
    const auto* x = call.x.template Row<uint16_t>(row);
    const int64_t stride = call.x.row_stride;
    __m512 total[kRows][kVectors];
    __m512 acc[kRows][kVectors];
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) total[m][v] = acc[m][v] = _mm512_setzero_ps();
    }
    int64_t left = groups.total_blocks;
    for (int64_t g = 0; g < groups.count; ++g) {
      const int64_t blocks = left < groups.blocks ? left : groups.blocks;
      left -= blocks;
      for (int64_t b = 0; b < blocks; ++b) {
        __m512i pairs[kVectors][Decoder::kPairs];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          decoder.Decode(_mm512_load_si512(codes + v * 64), pairs[v]);
          __builtin_prefetch(codes + v * 64 + kCodesAhead, 0, 3);
        }
#pragma GCC unroll 4
        for (int p = 0; p < Decoder::kPairs; ++p) {
          typename Pairs::Pair weight[kVectors];
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) weight[v] = Pairs::Split(pairs[v][p]);
#pragma GCC unroll 16
          for (int m = 0; m < kRows; ++m) {
            int32_t dword;
            __builtin_memcpy(&dword, x + m * stride + 2 * p, 4);
            const typename Pairs::Pair pair = Pairs::Split(_mm512_set1_epi32(dword));
#pragma GCC unroll 2
            for (int v = 0; v < kVectors; ++v) acc[m][v] = Pairs::Add(acc[m][v], weight[v], pair);
          }
        }
        codes += kBlockBytes;
        x += Decoder::kBlockK;
      }
      if (!kGrouped) break;
      __m512 weight_scale[kVectors], weight_min[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const int channel = (vector + v) * 16;
        if (weight_groups) weight_scale[v] = scales.Load(panel, g, channel);
        if (w.has_min) weight_min[v] = scales.Load(mins, g, channel);
      }
#pragma GCC unroll 16
      for (int m = 0; m < kRows; ++m) {
        const __m512 token = _mm512_set1_ps(
            group128 ? call.x.scales[(row + m) * call.x.scales_per_row() + g] : 1.0f);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          KeepInRegister(acc[m][v]);
          __m512 scale = token;
          if (weight_groups) scale = group128 ? _mm512_mul_ps(token, weight_scale[v]) : weight_scale[v];
          total[m][v] = _mm512_fmadd_ps(acc[m][v], scale, total[m][v]);
          if (w.has_min) {
            const float sum = call.x.group_sums_f32[(row + m) * call.x.sum_groups() + g];
            total[m][v] = _mm512_fmadd_ps(_mm512_set1_ps(sum), weight_min[v], total[m][v]);
          }
          acc[m][v] = _mm512_setzero_ps();
        }
      }
    }
    alignas(64) static constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const bool token_scaled = call.x.spec.format == ActivationFormat::kFp8;
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        KeepInRegister(acc[m][v]);
        StoreOutput(call, row + m, n + v * 16, kGrouped ? total[m][v] : acc[m][v],
                    token_scaled ? call.x.scales + row + m : nullptr,
                    weight_groups ? kOnes : reinterpret_cast<const float*>(panel) + (vector + v) * 16);
      }
    }
  }

  // The tile of exactly `rows` rows (1 .. kMax).
  template <int kMax, int kVectors, bool kGrouped>
  static void TileOf(int64_t rows, const GemmCall& call, const std::byte* panel, int64_t row, int vector,
                     int64_t n) {
    if constexpr (kMax > 1) {
      if (rows < kMax) return TileOf<kMax - 1, kVectors, kGrouped>(rows, call, panel, row, vector, n);
    }
    Tile<kMax, kVectors, kGrouped>(call, panel, row, vector, n);
  }

  static void DirectRows(const GemmCall& call, const std::byte* panel, bool grouped, int64_t n) {
    const int64_t rows = call.x.rows, step = grouped ? 12 : kPlainRows;
    for (int64_t row = 0; row < rows; row += step) {
      const int64_t count = rows - row < step ? rows - row : step;
      if (!grouped) {
        TileOf<kPlainRows, 2, false>(count, call, panel, row, 0, n);
      } else if (count <= 4) {
        TileOf<4, 2, true>(count, call, panel, row, 0, n);
      } else {
        TileOf<12, 1, true>(count, call, panel, row, 0, n);
        TileOf<12, 1, true>(count, call, panel, row, 1, n + 16);
      }
    }
  }

  // Whether to decode a panel before use. Without groups direct tiles are as good on few rows, and better
  // where the decoded panel leaves little of L2.
  static bool Unpacks(const WeightSpec& w, int64_t rows, bool grouped) {
    return grouped ? rows > 12 : rows > 24 && w.k <= 4096;
  }

  // Unpacks the codes and group scales of a panel to the thread's scratch.
  static Bf16Panel Unpack(const WeightSpec& w, const Groups& groups, const std::byte* panel) {
    const int64_t scale_floats = groups.count * kChannels;
    const int64_t code_bytes = groups.total_blocks * Decoder::kPairs * kBlockBytes;
    std::byte* out = GemmScratch(static_cast<size_t>(code_bytes + 2 * scale_floats * 4));
    auto* floats = reinterpret_cast<float*>(out + code_bytes);
    Bf16Panel result{.codes = out,
                     .pairs = groups.total_blocks * Decoder::kPairs,
                     .group_pairs = groups.blocks * Decoder::kPairs};
    const GroupScales<kChannels> scales(w);
    if (w.scales == ScaleLayout::kGroup) {
      result.group_scales = scales.Expand(panel, floats);
    } else {
      result.channel_scales = reinterpret_cast<const float*>(panel);
    }
    if (w.has_min) result.group_mins = scales.Expand(panel + MinsOffset(w), floats + scale_floats);
    const Decoder decoder(w);
    const std::byte* in = panel + CodesOffset(w);
    for (int64_t b = 0; b < groups.total_blocks; ++b, in += kBlockBytes, out += Decoder::kPairs * kBlockBytes) {
      for (int v = 0; v < 2; ++v) {
        __m512i pairs[Decoder::kPairs];
        decoder.Decode(_mm512_load_si512(in + v * 64), pairs);
        for (int p = 0; p < Decoder::kPairs; ++p) _mm512_store_si512(out + p * kBlockBytes + v * 64, pairs[p]);
      }
    }
    return result;
  }

  static void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    const FlushDenormals flush;
    const WeightSpec& w = *call.weight;
    const bool group128 = call.x.spec.format == ActivationFormat::kFp8Group128;
    const bool grouped = w.scales == ScaleLayout::kGroup || group128;
    const auto panel_bytes = static_cast<int64_t>(PanelBytes(w));
    const bool unpacks = Unpacks(w, call.x.rows, grouped);
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* panel = call.packed + p * panel_bytes;
      if (!unpacks) {
        DirectRows(call, panel, grouped, p * kChannels);
        continue;
      }
      Bf16Panel unpacked = Unpack(w, Groups(w, group128), panel);
      unpacked.grouped = grouped;
      unpacked.next = panel + panel_bytes;
      unpacked.next_lines = p + 1 < panel_end ? panel_bytes / 64 : 0;
      Bf16PanelProduct<Pairs>::Run(call, unpacked, p * kChannels);
    }
  }
};

template <typename Decoder, typename Pairs>
constexpr GemmKernel DecodedBf16Kernel(const char* name, IsaLevel isa) {
  using Kernel = DecodedBf16<Decoder, Pairs>;
  return {.name = name,
          .isa = isa,
          .accepts = AcceptsDecoded<Decoder>,
          .panel_channels = Kernel::kChannels,
          .panel_bytes = Kernel::PanelBytes,
          .pack = Kernel::Pack,
          .run = Kernel::Run};
}

}  // namespace
}  // namespace octavo
