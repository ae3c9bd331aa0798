// SPDX-License-Identifier: Apache-2.0
// int8 activations x integers without VNNI: bytes (and nibbles) widened to 16 bits for vpmaddwd, which
// is exact for every code; per channel, or groups with f32 or two-level scales. 6 x 16 tiles.
//
// vpmaddubsw would need fewer instructions but saturates: two products of u8 x s8 reach 65280.
// Panel of 16 channels: [scales g][16] f32, [mins g][16] f32 when there are, two-level: [scale2 g][16],
// [zero2 * scale2 g][16] s32, then [k/2][16][2] bytes.
#include "kernels/gemm/simd_avx2.h"
//
#include "kernels/gemm/grouped_layout.h"

namespace octavo {
namespace {

struct Kernel {
  static constexpr int kChannels = 16;
  static constexpr int kMaxRows = 6;
  static constexpr int64_t kChunk = 512;

  struct Layout {
    bool two_level, grouped;
    int64_t groups, group_steps, steps;
    int64_t mins, scales2, zeros2, codes;

    explicit Layout(const WeightSpec& w)
        : two_level(w.scales == ScaleLayout::kTwoLevel), grouped(w.scales == ScaleLayout::kGroup) {
      const int64_t size = w.group_size > 0 && w.group_size < w.k ? w.group_size : w.k;
      groups = DivUp(w.k, size);
      steps = DivUp(w.k, 2);
      group_steps = groups == 1 ? steps : size / 2;
      const int64_t row = kChannels * 4;
      mins = (grouped ? groups : 1) * row;
      scales2 = mins + (w.has_min ? groups * row : 0);
      zeros2 = scales2 + (two_level ? groups * row : 0);
      codes = zeros2 + (two_level ? groups * row : 0);
    }
  };

  static size_t PanelBytes(const WeightSpec& w) {
    const Layout layout(w);
    return static_cast<size_t>(RoundUp(layout.codes + layout.steps * kChannels * 2, 64));
  }

  // Sums of one group for kRows x 16 channels. Activations are widened to 16 bits chunk by chunk, so that
  // a pair is one broadcast load.
  template <int kRows, bool kSigned>
  [[gnu::always_inline]] static void GroupDot(const uint8_t* codes, const int8_t* x, int64_t stride,
                                              int64_t steps, int32_t (*sums)[kChannels]) {
    __m256i dot[kRows][2];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) dot[m][v] = _mm256_setzero_si256();
    }
    alignas(32) int16_t wide[kRows][kChunk];
    for (int64_t begin = 0; begin < steps; begin += kChunk / 2) {
      const int64_t count = steps - begin < kChunk / 2 ? steps - begin : kChunk / 2;
      for (int m = 0; m < kRows; ++m) {
        for (int64_t i = 0; i < count * 2; i += 16) {  // rows are padded beyond their end
          const auto* at = reinterpret_cast<const __m128i*>(x + m * stride + begin * 2 + i);
          _mm256_store_si256(reinterpret_cast<__m256i*>(wide[m] + i), _mm256_cvtepi8_epi16(_mm_loadu_si128(at)));
        }
      }
      const int16_t* pair = wide[0];
      for (int64_t s = 0; s < count; ++s, pair += 2, codes += kChannels * 2) {
        __m256i w[2];
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + v * 16));
          w[v] = kSigned ? _mm256_cvtepi8_epi16(raw) : _mm256_cvtepu8_epi16(raw);
        }
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          int32_t dword;
          __builtin_memcpy(&dword, pair + m * kChunk, 4);
          const __m256i broadcast = _mm256_set1_epi32(dword);
#pragma GCC unroll 2
          for (int v = 0; v < 2; ++v) {
            dot[m][v] = _mm256_add_epi32(dot[m][v], _mm256_madd_epi16(w[v], broadcast));
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        KeepInRegister(dot[m][v]);
        _mm256_store_si256(reinterpret_cast<__m256i*>(&sums[m][v * 8]), dot[m][v]);
      }
    }
  }

  template <int kRows, bool kSigned>
  [[gnu::noinline]] static void Tile(const GemmCall& call, const std::byte* panel, int64_t row, int64_t n) {
    const WeightSpec& w = *call.weight;
    const Layout layout(w);
    const auto* scales = reinterpret_cast<const float*>(panel);
    const auto* mins = reinterpret_cast<const float*>(panel + layout.mins);
    const auto* codes = reinterpret_cast<const uint8_t*>(panel + layout.codes);
    const auto* x = call.x.template Row<int8_t>(row);
    alignas(32) float total[kRows][kChannels] = {};
    alignas(32) int32_t total2[kRows][kChannels] = {};
    for (int64_t g = 0; g < layout.groups; ++g) {
      const int64_t begin = g * layout.group_steps;
      const int64_t count =
          layout.steps - begin < layout.group_steps ? layout.steps - begin : layout.group_steps;
      alignas(32) int32_t sums[kRows][kChannels];
      GroupDot<kRows, kSigned>(codes + begin * kChannels * 2, x + begin * 2, call.x.row_stride, count, sums);
      for (int m = 0; m < kRows; ++m) {
        const int32_t sum = call.x.group_sums != nullptr
                                ? call.x.group_sums[(row + m) * call.x.sum_groups() + g]
                                : 0;
        for (int v = 0; v < 2; ++v) {
          const __m256i dot = _mm256_load_si256(reinterpret_cast<const __m256i*>(&sums[m][v * 8]));
          const Group group{.index = g, .sum = sum, .token_scale = TokenScale(call, row + m, g)};
          AddGroup(layout, panel, group, v * 8, dot, scales, w.has_min ? mins : nullptr, &total[m][v * 8],
                   &total2[m][v * 8]);
        }
      }
    }
    alignas(32) static constexpr float kOnes[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    for (int m = 0; m < kRows; ++m) {
      for (int v = 0; v < 2; ++v) {
        const __m256 value =
            layout.two_level ? _mm256_cvtepi32_ps(_mm256_load_si256(
                                   reinterpret_cast<const __m256i*>(&total2[m][v * 8])))
                             : _mm256_load_ps(&total[m][v * 8]);
        StoreOutput(call, row + m, n + v * 8, value, HasTokenGroups(call) ? nullptr : call.x.scales + row + m,
                    layout.grouped ? kOnes : scales + v * 8);
      }
    }
  }

  // One group of columns and what a row of activations has for it.
  struct Group {
    int64_t index;
    int32_t sum;
    float token_scale;  // 1 where the row has one scale
  };

  static bool HasTokenGroups(const GemmCall& call) {
    return call.x.spec.format == ActivationFormat::kInt8Group32;
  }
  static float TokenScale(const GemmCall& call, int64_t row, int64_t g) {
    if (!HasTokenGroups(call)) return 1.0f;
    return call.x.scales[row * call.x.scales_per_row() + g * call.weight->group_size / 32];
  }

  [[gnu::always_inline]] static void AddGroup(const Layout& layout, const std::byte* panel, const Group& group,
                                              int64_t c, __m256i dot, const float* scales, const float* mins,
                                              float* total, int32_t* total2) {
    const int64_t at = group.index * kChannels + c;
    if (layout.two_level) {
      const auto* scale = reinterpret_cast<const __m256i*>(panel + layout.scales2 + at * 4);
      const auto* zero = reinterpret_cast<const __m256i*>(panel + layout.zeros2 + at * 4);
      auto* out = reinterpret_cast<__m256i*>(total2);
      const __m256i offset = _mm256_mullo_epi32(_mm256_loadu_si256(zero), _mm256_set1_epi32(group.sum));
      const __m256i scaled = _mm256_sub_epi32(_mm256_mullo_epi32(dot, _mm256_loadu_si256(scale)), offset);
      _mm256_store_si256(out, _mm256_add_epi32(_mm256_load_si256(out), scaled));
      return;
    }
    const __m256 value = _mm256_cvtepi32_ps(dot);
    if (!layout.grouped) return _mm256_store_ps(total, value);
    const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(group.token_scale), _mm256_loadu_ps(scales + at));
    __m256 acc = _mm256_fmadd_ps(value, scale, _mm256_load_ps(total));
    if (mins != nullptr) {
      const float sum = static_cast<float>(group.sum) * group.token_scale;
      acc = _mm256_fmadd_ps(_mm256_set1_ps(sum), _mm256_loadu_ps(mins + at), acc);
    }
    _mm256_store_ps(total, acc);
  }

  template <int kMax, bool kSigned>
  static void TileOf(int64_t rows, const GemmCall& call, const std::byte* panel, int64_t row, int64_t n) {
    if constexpr (kMax > 1) {
      if (rows < kMax) return TileOf<kMax - 1, kSigned>(rows, call, panel, row, n);
    }
    Tile<kMax, kSigned>(call, panel, row, n);
  }

  static void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    const WeightSpec& w = *call.weight;
    const bool is_signed = !w.has_min && w.scales != ScaleLayout::kTwoLevel;
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* panel = call.packed + p * static_cast<int64_t>(PanelBytes(w));
      for (int64_t row = 0; row < call.x.rows; row += kMaxRows) {
        const int64_t rows = call.x.rows - row < kMaxRows ? call.x.rows - row : kMaxRows;
        is_signed ? TileOf<kMaxRows, true>(rows, call, panel, row, p * kChannels)
                  : TileOf<kMaxRows, false>(rows, call, panel, row, p * kChannels);
      }
    }
  }
};

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (!IsInt8(format) || !IsLegalPair(w, format)) return false;
  if (w.bits <= 4 && AcceptsGroupedInt8(w, format)) return false;  // gemm_w4a8_avx2.cc
  return w.k <= 65792 && (w.group_size == 0 || w.group_size >= w.k || w.group_size % 2 == 0);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  const Kernel::Layout layout(w);
  const int64_t groups = layout.groups, channels = Kernel::kChannels;
  PackScales(rows.scales.data(), rows.scales.size(), layout.grouped ? groups : 1, channels,
             reinterpret_cast<float*>(panel));
  if (w.has_min) {
    PackScales(rows.mins.data(), rows.mins.size(), groups, channels,
               reinterpret_cast<float*>(panel + layout.mins));
  }
  if (layout.two_level) {
    auto* scales2 = reinterpret_cast<int32_t*>(panel + layout.scales2);
    auto* zeros2 = reinterpret_cast<int32_t*>(panel + layout.zeros2);
    for (int64_t i = 0; i < groups * channels; ++i) {
      const int64_t from = i % channels * groups + i / channels;
      scales2[i] = rows.scales2.data()[from];
      zeros2[i] = scales2[i] * rows.zeros2.data()[from];
    }
  }
  auto* codes = reinterpret_cast<uint8_t*>(panel + layout.codes);
  for (int64_t s = 0; s < layout.steps; ++s) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t t = 0; t < 2; ++t) {
        const int64_t k = 2 * s + t;
        codes[(s * channels + c) * 2 + t] = k < w.k ? rows.codes.data()[c * w.k + k] : uint8_t{0};
      }
    }
  }
}

void Columns(const WeightSpec& w, const std::byte* panel, const uint16_t* columns, int64_t count, float* out) {
  const auto* codes = reinterpret_cast<const int8_t*>(panel + Kernel::Layout(w).codes);
  const auto* scales = reinterpret_cast<const float*>(panel);
  for (int64_t i = 0; i < count; ++i) {
    const int8_t* pair = codes + columns[i] / 2 * Kernel::kChannels * 2 + columns[i] % 2;
    for (int c = 0; c < Kernel::kChannels; ++c) *out++ = static_cast<float>(pair[2 * c]) * scales[c];
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_int8_avx2;
const GemmKernel kGemm_gemm_int8_avx2 = {
    .name = "gemm_int8_avx2",
    .isa = IsaLevel::kAvx2,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
    .columns = Columns,
};

}  // namespace octavo
