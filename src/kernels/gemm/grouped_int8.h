// SPDX-License-Identifier: Apache-2.0
// int8 activations x integers with group scales, by vpdpbusd: W4A8 (QoQ's two-level integers, or f32
// group scales) and W8A8 with groups. Include after simd_avx512.h.
//
// Panels as in grouped_layout.h; codes are unsigned (signed ones are stored with an offset that group
// sums take out).
// Codes of 8 columns x 16 channels of nibbles are 64 bytes: byte 4c + t holds columns t (low) and t + 4
// (high) of channel c, so an and and a shift give two operands. Bytes: 4 columns in 64 bytes.
#pragma once

#include "kernels/gemm/decode_avx512.h"
#include "kernels/gemm/decoded_int8.h"
#include "kernels/gemm/grouped_layout.h"
#include "kernels/gemm/scratch.h"
#include "kernels/gemm/spread_prefetch.h"

namespace octavo {
namespace {

struct NibbleCodes {
  static constexpr int kBlockK = 8, kQuads = 2, kOffset = 8;
  [[gnu::always_inline]] static void Decode(__m512i raw, __m512i out[kQuads]) {
    const __m512i mask = _mm512_set1_epi8(15);
    out[0] = _mm512_and_si512(raw, mask);
    out[1] = _mm512_and_si512(_mm512_srli_epi16(raw, 4), mask);
  }
  static void Pack(const uint8_t* rows, int64_t row_bytes, int64_t at, int64_t end, __m512i flip,
                   std::byte* out) {
    __m512i quads[2];
    LoadQuads<2>(rows, row_bytes, at, end, quads);
    const __m512i mask = _mm512_set1_epi8(15);
    const __m512i low = _mm512_and_si512(_mm512_xor_si512(quads[0], flip), mask);
    const __m512i high = _mm512_and_si512(_mm512_xor_si512(quads[1], flip), mask);
    _mm512_storeu_si512(out, _mm512_or_si512(low, _mm512_slli_epi16(high, 4)));
  }
};

struct ByteCodes {
  static constexpr int kBlockK = 4, kQuads = 1, kOffset = 128;
  [[gnu::always_inline]] static void Decode(__m512i raw, __m512i out[kQuads]) { out[0] = raw; }
  static void Pack(const uint8_t* rows, int64_t row_bytes, int64_t at, int64_t end, __m512i flip,
                   std::byte* out) {
    __m512i quad;
    LoadQuads<1>(rows, row_bytes, at, end, &quad);
    _mm512_storeu_si512(out, _mm512_xor_si512(quad, flip));
  }
};

template <typename Codes>
struct GroupedInt8 {
  static constexpr int kChannels = 32;
  static constexpr int kMaxRows = 6;
  static constexpr int64_t kBlockBytes = 2 * 64;
  static constexpr int64_t kDirectRows = 12;  // up to here codes are decoded as they are used
  static constexpr bool kNibbles = Codes::kQuads == 2;

  using Layout = GroupedLayout<kChannels, Codes::kBlockK>;

  static bool Accepts(const WeightSpec& w, ActivationFormat format) {
    return (w.bits <= 4) == (Codes::kBlockK == 8) && AcceptsGroupedInt8(w, format);
  }

  static size_t PanelBytes(const WeightSpec& w) {
    return Layout(w).PanelBytes();
  }

  static void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
    const Layout layout(w);
    layout.PackScales(w, rows, panel);
    const bool is_signed = !w.has_min && !layout.two_level;
    const __m512i flip = _mm512_set1_epi8(is_signed ? static_cast<char>(Codes::kOffset) : '\0');
    for (int64_t b = 0; b < layout.total_blocks; ++b) {
      for (int v = 0; v < 2; ++v) {
        Codes::Pack(rows.codes.data() + v * 16 * w.k, w.k, b * Codes::kBlockK, w.k, flip,
                    panel + layout.codes + b * kBlockBytes + v * 64);
      }
    }
  }

  // Dot products of one group; `x` and `codes` move on.
  template <int kRows>
  [[gnu::always_inline]] static void GroupDot(const std::byte*& codes, const int8_t*& x, int64_t stride,
                                              int64_t blocks, __m512i (&dot)[kRows][2]) {
    for (int64_t b = 0; b < blocks; ++b) {
      __m512i quads[2][Codes::kQuads];
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        Codes::Decode(_mm512_load_si512(codes + v * 64), quads[v]);
        __builtin_prefetch(codes + v * 64 + kCodesAhead, 0, 3);
      }
#pragma GCC unroll 2
      for (int q = 0; q < Codes::kQuads; ++q) {
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          int32_t dword;
          __builtin_memcpy(&dword, x + m * stride + 4 * q, 4);
          const __m512i broadcast = _mm512_set1_epi32(dword);
#pragma GCC unroll 2
          for (int v = 0; v < 2; ++v) {
            dot[m][v] = _mm512_dpbusd_epi32(dot[m][v], quads[v][q], broadcast);
          }
        }
      }
      codes += kBlockBytes;
      x += Codes::kBlockK;
    }
  }

  template <int kRows>
  [[gnu::noinline]] static void TwoLevelTile(const GemmCall& call, const std::byte* panel, int64_t row,
                                             int64_t n) {
    const Layout layout(*call.weight);
    const auto* scales2 = reinterpret_cast<const uint8_t*>(panel + layout.scales2);
    const std::byte* codes = panel + layout.codes;
    const auto* x = call.x.template Row<int8_t>(row);
    __m512i total[kRows][2], dot[kRows][2];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) total[m][v] = dot[m][v] = _mm512_setzero_si512();
    }
    int64_t left = layout.total_blocks;
    for (int64_t g = 0; g < layout.groups; ++g) {
      const int64_t blocks = left < layout.group_blocks ? left : layout.group_blocks;
      left -= blocks;
      GroupDot<kRows>(codes, x, call.x.row_stride, blocks, dot);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m512i scale = _mm512_cvtepu8_epi32(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales2 + g * kChannels + v * 16)));
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          KeepInRegister(dot[m][v]);
          total[m][v] = _mm512_add_epi32(total[m][v], _mm512_mullo_epi32(dot[m][v], scale));
          dot[m][v] = _mm512_setzero_si512();
        }
      }
    }
    // Zero points: minus the sum over g of (zero2 * scale2)[g] * group_sum[g], two groups at a time.
    const auto* zeros = panel + layout.zeros2;
    const int32_t* sums = call.x.group_sums + row * layout.groups;
    for (int64_t g = 0; g < layout.groups; g += 2) {
      const __m512i zero0 = _mm512_load_si512(zeros), zero1 = _mm512_load_si512(zeros + 64);
      zeros += 128;
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
        const __m512i pair = _mm512_set1_epi32(SumPair(sums + m * layout.groups, g, layout.groups));
        dot[m][0] = _mm512_dpwssd_epi32(dot[m][0], zero0, pair);
        dot[m][1] = _mm512_dpwssd_epi32(dot[m][1], zero1, pair);
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m512 value = _mm512_cvtepi32_ps(_mm512_sub_epi32(total[m][v], dot[m][v]));
        StoreOutput(call, row + m, n + v * 16, value, call.x.scales + row + m,
                    reinterpret_cast<const float*>(panel) + v * 16);
      }
    }
  }

  // Float scales. kTokenGroups: so have the activations, per 32 columns.
  template <int kRows, bool kTokenGroups>
  [[gnu::noinline]] static void FloatTile(const GemmCall& call, const std::byte* panel, int64_t row,
                                          int64_t n) {
    const WeightSpec& w = *call.weight;
    const Layout layout(w);
    const std::byte* codes = panel + layout.codes;
    const auto* x = call.x.template Row<int8_t>(row);
    const int32_t* sums = call.x.group_sums + row * layout.groups;
    const float* scaled_sums = kTokenGroups ? call.x.group_sums_f32 + row * layout.groups : nullptr;
    const int64_t per_row = call.x.scales_per_row(), groups_per_scale = kTokenGroups ? 32 / w.group_size : 1;
    const float* tokens = call.x.scales + row * per_row;
    const int32_t offset = w.has_min ? 0 : Codes::kOffset;
    __m512 total[kRows][2];
    __m512i dot[kRows][2];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) total[m][v] = _mm512_setzero_ps();
    }
    int64_t left = layout.total_blocks;
    for (int64_t g = 0; g < layout.groups; ++g) {
      const int64_t blocks = left < layout.group_blocks ? left : layout.group_blocks;
      left -= blocks;
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
        dot[m][0] = dot[m][1] = _mm512_set1_epi32(-offset * sums[m * layout.groups + g]);
      }
      GroupDot<kRows>(codes, x, call.x.row_stride, blocks, dot);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m512 scale = layout.scales.Load(panel, g, v * 16);
        const __m512 min = w.has_min ? layout.scales.Load(panel + layout.mins, g, v * 16) : _mm512_setzero_ps();
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          KeepInRegister(dot[m][v]);
          __m512 factor = scale;
          if (kTokenGroups) factor = _mm512_mul_ps(_mm512_set1_ps(tokens[m * per_row + g / groups_per_scale]), scale);
          total[m][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[m][v]), factor, total[m][v]);
          if (w.has_min) {
            const int64_t at = m * layout.groups + g;
            const float sum = kTokenGroups ? scaled_sums[at] : static_cast<float>(sums[at]);
            total[m][v] = _mm512_fmadd_ps(_mm512_set1_ps(sum), min, total[m][v]);
          }
        }
      }
    }
    alignas(64) static constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        StoreOutput(call, row + m, n + v * 16, total[m][v], kTokenGroups ? nullptr : call.x.scales + row + m, kOnes);
      }
    }
  }

  template <int kMax>
  static void TileOf(int64_t rows, const GemmCall& call, const std::byte* panel, int64_t row, int64_t n) {
    if constexpr (kMax > 1) {
      if (rows < kMax) return TileOf<kMax - 1>(rows, call, panel, row, n);
    }
    if (call.weight->scales == ScaleLayout::kTwoLevel) return TwoLevelTile<kMax>(call, panel, row, n);
    if (call.x.spec.format == ActivationFormat::kInt8Group32) return FloatTile<kMax, true>(call, panel, row, n);
    FloatTile<kMax, false>(call, panel, row, n);
  }

  static void DirectRows(const GemmCall& call, const std::byte* panel, int64_t n) {
    const int64_t rows = call.x.rows;
    for (int64_t row = 0; row < rows; row += kMaxRows) {
      TileOf<kMaxRows>(rows - row < kMaxRows ? rows - row : kMaxRows, call, panel, row, n);
    }
  }

  // Unpacks a panel for the tiles of decoded_int8.h. False if its two-level codes do not fit a byte each.
  static bool Decode(const WeightSpec& w, const Layout& layout, const std::byte* panel, std::byte* scratch,
                     DecodedPanel& out) {
    const int64_t scale_bytes = layout.groups * kChannels * 4;
    auto* floats = reinterpret_cast<float*>(scratch);
    std::byte* codes = scratch + 2 * scale_bytes;
    out = {.codes = codes, .offset = w.has_min ? 0 : Codes::kOffset};
    if (!layout.two_level) {
      out.scales = layout.scales.Expand(panel, floats);
      if (w.has_min) out.mins = layout.scales.Expand(panel + layout.mins, floats + layout.groups * kChannels);
      if (!kNibbles) {
        out.codes = panel + layout.codes;
        return true;
      }
    } else {
      if (!ProductsFitBytes(layout, panel)) return false;
      out.scales = reinterpret_cast<const float*>(panel);
      out.zeros = panel + layout.zeros2;
    }
    const std::byte* in = panel + layout.codes;
    int64_t left = layout.total_blocks;
    for (int64_t g = 0; g < layout.groups; ++g) {
      const int64_t blocks = left < layout.group_blocks ? left : layout.group_blocks;
      left -= blocks;
      __m512i scale[2];
      for (int v = 0; v < 2; ++v) {
        const std::byte* from = panel + layout.scales2 + g * kChannels + v * 16;
        scale[v] = layout.two_level
                       ? _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))
                       : _mm512_set1_epi32(1);
        scale[v] = _mm512_or_si512(scale[v], _mm512_slli_epi32(scale[v], 16));
      }
      for (int64_t b = 0; b < blocks; ++b, in += kBlockBytes) {
        for (int v = 0; v < 2; ++v) {
          __m512i quads[Codes::kQuads];
          Codes::Decode(_mm512_load_si512(in + v * 64), quads);
          for (int q = 0; q < Codes::kQuads; ++q) {
            if (layout.two_level) quads[q] = ScaleBytes(quads[q], scale[v]);
            _mm512_store_si512(codes + q * kBlockBytes + v * 64, quads[q]);
          }
        }
        codes += Codes::kQuads * kBlockBytes;
      }
    }
    return true;
  }

  static bool ProductsFitBytes(const Layout& layout, const std::byte* panel) {
    constexpr uint8_t kMost = 255 / 15;
    uint8_t most = 0;
    for (int64_t i = 0; i < layout.groups * kChannels; ++i) {
      const auto scale = static_cast<uint8_t>(panel[layout.scales2 + i]);
      most = scale > most ? scale : most;
    }
    return most <= kMost;
  }

  // Products of bytes with the scale in both halves of a dword; they fit bytes.
  [[gnu::always_inline]] static __m512i ScaleBytes(__m512i bytes, __m512i scale) {
    const __m512i even = _mm512_mullo_epi16(_mm512_and_si512(bytes, _mm512_set1_epi16(255)), scale);
    const __m512i odd = _mm512_mullo_epi16(_mm512_srli_epi16(bytes, 8), scale);
    return _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
  }

  static void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    const WeightSpec& w = *call.weight;
    const Layout layout(w);
    const auto panel_bytes = static_cast<int64_t>(layout.PanelBytes());
    const bool decode = call.x.rows > kDirectRows && DecodedInt8::Accepts(w);
    const int64_t code_bytes = kNibbles ? layout.total_blocks * 2 * kBlockBytes : 0;
    std::byte* scratch =
        decode ? GemmScratch(static_cast<size_t>(2 * layout.groups * kChannels * 4 + code_bytes)) : nullptr;
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* panel = call.packed + p * panel_bytes;
      DecodedPanel decoded;
      if (!decode || !Decode(w, layout, panel, scratch, decoded)) {
        DirectRows(call, panel, p * kChannels);
        continue;
      }
      decoded.quads = layout.total_blocks * Codes::kQuads;
      decoded.groups = layout.groups;
      decoded.group_quads = layout.group_blocks * Codes::kQuads;
      decoded.next = panel + panel_bytes;
      decoded.next_lines = p + 1 < panel_end ? panel_bytes / 64 : 0;
      DecodedInt8::Run(call, decoded, p * kChannels);
    }
  }
};

template <typename Codes>
constexpr GemmKernel GroupedInt8Kernel(const char* name) {
  using Kernel = GroupedInt8<Codes>;
  return {.name = name,
          .isa = IsaLevel::kAvx512Vnni,
          .accepts = Kernel::Accepts,
          .panel_channels = Kernel::kChannels,
          .panel_bytes = Kernel::PanelBytes,
          .pack = Kernel::Pack,
          .run = Kernel::Run};
}

}  // namespace
}  // namespace octavo
