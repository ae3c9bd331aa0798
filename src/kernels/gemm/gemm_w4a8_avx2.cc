// SPDX-License-Identifier: Apache-2.0
// int8 activations x 4-bit integers with group scales (two-level or f32) by vpmaddubsw.
//
// Two products of a nibble and an int8 fit 16 bits, and so do eight such pairs (8 * 2 * 15 * 127 = 30480):
// sums stay in 16-bit lanes for 32 columns, then vpmaddwd widens them. Exact.
//
// Panels of 16 channels as in grouped_layout.h; 8 columns x 8 channels of codes are 32 bytes: byte 4c + t
// holds columns t (low) and t + 4 (high) of channel c. Signed codes are stored + 8. For more than a few rows
// a panel is decoded once, to bytes [k/4][16][4].
#include "kernels/gemm/simd_avx2.h"
//
#include "kernels/gemm/grouped_layout.h"
#include "kernels/gemm/scratch.h"

namespace octavo {
namespace {

using Layout = GroupedLayout<16, 8>;

enum class Scales { kFloat, kFloatPerToken, kTwoLevel };  // kFloatPerToken: activations have groups, too

struct Kernel {
  static constexpr int kChannels = 16;
  static constexpr int kMaxRows = 6;
  static constexpr int kDirectRows = 4;   // up to here nibbles are decoded as they are used
  static constexpr int64_t kRunBlocks = 4;  // that 16-bit sums hold

  // A panel with its scales as f32 and its codes as nibbles or decoded.
  struct Panel {
    const Layout& layout;
    const std::byte* codes;
    const float* scales;
    const float* mins;  // or null
    const std::byte *scales2, *zeros2;
  };

  // Adds one block to sums in 16-bit lanes, two per channel; starts them if it is the first.
  template <int kRows, bool kDecoded>
  [[gnu::always_inline]] static void AddBlock(const std::byte* codes, const int8_t* x, int64_t stride, bool first,
                                              __m256i (&sum)[kRows][2]) {
    const __m256i mask = _mm256_set1_epi8(15);
#pragma GCC unroll 2
    for (int q = 0; q < 2; ++q) {
      __m256i w[2];
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        if (kDecoded) {
          w[v] = Load(codes + q * 64 + v * 32);
        } else {
          const __m256i raw = Load(codes + v * 32);
          w[v] = _mm256_and_si256(q == 0 ? raw : _mm256_srli_epi16(raw, 4), mask);
        }
      }
#pragma GCC unroll 6
      for (int m = 0; m < kRows; ++m) {
        const __m256i quad = BroadcastQuad(x + m * stride + q * 4);
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          const __m256i product = _mm256_maddubs_epi16(w[v], quad);
          sum[m][v] = first && q == 0 ? product : _mm256_add_epi16(sum[m][v], product);
          KeepInRegister(sum[m][v]);  // or GCC reorders the additions and spills
        }
      }
    }
  }

  // dots[m] = (or +=, unless `first`) the widened sums.
  template <int kRows>
  [[gnu::always_inline]] static void Widen(const __m256i (&sum)[kRows][2], bool first,
                                           int32_t (*dots)[kChannels]) {
#pragma GCC unroll 6
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        auto* out = reinterpret_cast<__m256i*>(dots[m] + v * 8);
        __m256i dot = _mm256_madd_epi16(sum[m][v], _mm256_set1_epi16(1));
        if (!first) dot = _mm256_add_epi32(dot, _mm256_load_si256(out));
        _mm256_store_si256(out, dot);
      }
    }
  }

  // dots[m] = the sums over one group.
  template <int kRows, bool kDecoded>
  [[gnu::always_inline]] static void GroupDot(const std::byte* codes, const int8_t* x, int64_t stride,
                                              int64_t blocks, int32_t (*dots)[kChannels]) {
    constexpr int64_t kBytes = kDecoded ? 128 : 64;
    __m256i sum[kRows][2];
    int64_t b = 0;
    for (; b + kRunBlocks <= blocks; b += kRunBlocks) {
#pragma GCC unroll 4
      for (int64_t i = 0; i < kRunBlocks; ++i) {
        AddBlock<kRows, kDecoded>(codes + (b + i) * kBytes, x + (b + i) * 8, stride, i == 0, sum);
      }
      Widen<kRows>(sum, b == 0, dots);
    }
    if (b == blocks) return;
    const bool first = b == 0;
    AddBlock<kRows, kDecoded>(codes + b * kBytes, x + b * 8, stride, true, sum);
    for (++b; b < blocks; ++b) {
      AddBlock<kRows, kDecoded>(codes + b * kBytes, x + b * 8, stride, false, sum);
    }
    Widen<kRows>(sum, first, dots);
  }

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
    const int64_t stride = call.x.row_stride, group_blocks = layout.group_blocks;
    const auto* x = call.x.template Row<int8_t>(row);
    const std::byte* codes = panel.codes;
    alignas(32) float total[kRows][kChannels] = {};
    alignas(32) int32_t dots[kRows][kChannels];
    int64_t left = layout.total_blocks;
    for (int64_t g = 0; g < x_groups.groups; ++g) {
      const int64_t blocks = left < group_blocks ? left : group_blocks;
      left -= blocks;
      GroupDot<kRows, kDecoded>(codes, x, stride, blocks, dots);
      codes += blocks * (kDecoded ? 128 : 64);
      x += blocks * 8;
      if constexpr (kScales == Scales::kTwoLevel) {
        AddTwoLevel<kRows>(panel.scales2 + g * kChannels, dots, total);
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
                    kScales == Scales::kTwoLevel ? panel.scales + v * 8 : kOnes);
      }
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

  // total += (dots - offset) * scale + sum * min.
  template <int kRows, Scales kScales>
  [[gnu::always_inline]] static void AddFloat(const Panel& panel, const RowGroups& x, int64_t g,
                                              const int32_t (*dots)[kChannels], float (*total)[kChannels]) {
    constexpr bool kPerToken = kScales == Scales::kFloatPerToken;
    const __m256 scale[2] = {_mm256_loadu_ps(panel.scales + g * kChannels),
                             _mm256_loadu_ps(panel.scales + g * kChannels + 8)};
    const float* token = kPerToken ? x.tokens + g * x.group_size / 32 : nullptr;
#pragma GCC unroll 6
    for (int m = 0; m < kRows; ++m) {
      const int64_t at = m * x.groups + g;
      // Signed codes are stored with an offset; unsigned ones have mins.
      const __m256i offset = _mm256_slli_epi32(_mm256_set1_epi32(panel.mins == nullptr ? x.sums[at] : 0), 3);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const __m256 dot = _mm256_cvtepi32_ps(_mm256_sub_epi32(Load(dots[m] + v * 8), offset));
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
  static void Rows(const GemmCall& call, const Panel& panel, int64_t n) {
    const int64_t rows = call.x.rows;
    if (rows <= kDirectRows) return TileOf<kDirectRows, false, kScales>(rows, call, panel, 0, n);
    const int64_t tiles = DivUp(rows, kMaxRows);
    for (int64_t tile = 0, row = 0; tile < tiles; ++tile) {
      const int64_t count = DivUp(rows - row, tiles - tile);  // even shares
      TileOf<kMaxRows, true, kScales>(count, call, panel, row, n);
      row += count;
    }
  }

  static void Multiply(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    const WeightSpec& w = *call.weight;
    const Layout layout(w);
    const bool decode = call.x.rows > kDirectRows;
    if (call.x.rows == 0) return;
    const int64_t scale_bytes = layout.groups * kChannels * 4;
    std::byte* scratch = GemmScratch(static_cast<size_t>(2 * scale_bytes + (decode ? layout.total_blocks * 128 : 0)));
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* packed = call.packed + p * static_cast<int64_t>(layout.PanelBytes());
      Panel panel{layout, packed + layout.codes, reinterpret_cast<const float*>(packed), nullptr,
                  packed + layout.scales2, packed + layout.zeros2};
      if (!layout.two_level) panel.scales = layout.scales.Expand(packed, reinterpret_cast<float*>(scratch));
      if (w.has_min) {
        panel.mins = layout.scales.Expand(packed + layout.mins, reinterpret_cast<float*>(scratch + scale_bytes));
      }
      if (decode) panel.codes = Decode(layout, panel.codes, scratch + 2 * scale_bytes);
      const int64_t n = p * kChannels;
      if (layout.two_level) {
        Rows<Scales::kTwoLevel>(call, panel, n);
      } else if (call.x.spec.format == ActivationFormat::kInt8Group32) {
        Rows<Scales::kFloatPerToken>(call, panel, n);
      } else {
        Rows<Scales::kFloat>(call, panel, n);
      }
    }
  }

  static const std::byte* Decode(const Layout& layout, const std::byte* codes, std::byte* out) {
    const __m256i mask = _mm256_set1_epi8(15);
    for (int64_t b = 0; b < layout.total_blocks; ++b) {
      for (int v = 0; v < 2; ++v) {
        const __m256i raw = Load(codes + b * 64 + v * 32);
        auto* to = reinterpret_cast<__m256i*>(out + b * 128 + v * 32);
        _mm256_store_si256(to, _mm256_and_si256(raw, mask));
        _mm256_store_si256(to + 2, _mm256_and_si256(_mm256_srli_epi16(raw, 4), mask));
      }
    }
    return out;
  }

  [[gnu::always_inline]] static __m256i Load(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  [[gnu::always_inline]] static __m256i BroadcastQuad(const int8_t* x) {
    int32_t dword;
    __builtin_memcpy(&dword, x, 4);
    return _mm256_set1_epi32(dword);
  }
};

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return w.bits <= 4 && AcceptsGroupedInt8(w, format);
}

size_t PanelBytes(const WeightSpec& w) { return Layout(w).PanelBytes(); }

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  const Layout layout(w);
  layout.PackScales(w, rows, panel);
  const bool is_signed = !w.has_min && !layout.two_level;
  const uint32_t flip = is_signed ? 0x88888888u : 0;
  auto* out = reinterpret_cast<uint32_t*>(panel + layout.codes);
  for (int64_t b = 0; b < layout.total_blocks; ++b) {
    for (int64_t c = 0; c < Kernel::kChannels; ++c) {
      const uint8_t* row = rows.codes.data() + c * w.k;
      uint32_t quads[2] = {};
      const int64_t left = w.k - b * 8;
      __builtin_memcpy(quads, row + b * 8, static_cast<size_t>(left < 8 ? left : 8));
      *out++ = ((quads[0] & 0x0f0f0f0fu) | (quads[1] & 0x0f0f0f0fu) << 4) ^ flip;
    }
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_w4a8_avx2;
const GemmKernel kGemm_gemm_w4a8_avx2 = {
    .name = "gemm_w4a8_avx2",
    .isa = IsaLevel::kAvx2,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = PanelBytes,
    .pack = Pack,
    .run = Kernel::Multiply,
};

}  // namespace octavo
