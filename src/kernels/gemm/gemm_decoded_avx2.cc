// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x 8-bit codes (FP8 or integers of up to 8 bits) without vdpbf16ps: codes
// become f32 in registers, pairs run as two FMAs, odd column first, with denormals flushed. 4 x 16 tiles.
//
// Panel of 16 channels: [scales g][16] f32, [mins g][16] f32 when there are, codes [k][16] bytes, K
// padded to a multiple of 8.
#include "kernels/gemm/simd_avx2.h"

namespace octavo {
namespace {

// Eight codes to eight floats, exactly.
struct SignedDecoder {
  static __m256 Decode(__m128i codes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)); }
};
struct UnsignedDecoder {
  static __m256 Decode(__m128i codes) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes)); }
};
// By way of f16, whose conversion keeps subnormals whatever the flush mode.
struct E4M3Decoder {
  static __m256 Decode(__m128i codes) {
    const __m128i words = _mm_cvtepu8_epi16(codes);
    const __m128i magnitude = _mm_and_si128(words, _mm_set1_epi16(0x7f));
    const __m128i sign = _mm_slli_epi16(_mm_and_si128(words, _mm_set1_epi16(0x80)), 8);
    const __m128i nan = _mm_and_si128(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f)),
                                      _mm_set1_epi16(0x7e00));
    const __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign), nan);
    return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
  }
};
struct E5M2Decoder {
  static __m256 Decode(__m128i codes) {
    return _mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(codes), 8));
  }
};

struct Kernel {
  static constexpr int kChannels = 16;
  static constexpr int kMaxRows = 4;

  struct Layout {
    int64_t padded_k, scale_groups, mins, codes;

    explicit Layout(const WeightSpec& w)
        : padded_k(RoundUp(w.k, 8)),
          scale_groups(w.scales == ScaleLayout::kGroup ? DivUp(w.k, w.group_size) : 1) {
      mins = scale_groups * kChannels * 4;
      codes = mins * (w.has_min ? 2 : 1);
    }
  };

  static size_t PanelBytes(const WeightSpec& w) {
    const Layout layout(w);
    return static_cast<size_t>(RoundUp(layout.codes + layout.padded_k * kChannels, 64));
  }

  // One chain over columns [begin, end) for kRows x 16 channels.
  template <typename Decoder, int kRows>
  [[gnu::always_inline]] static void Chain(const std::byte* codes, const uint16_t* x, int64_t stride,
                                           int64_t begin, int64_t end, __m256 (&acc)[kRows][2]) {
    for (int64_t k = begin; k < end; k += 2) {
      __m256 even[2], odd[2];
      __builtin_prefetch(codes + k * kChannels + 4096, 0, 3);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::byte* at = codes + k * kChannels + v * 8;
        even[v] = Decoder::Decode(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
        odd[v] = Decoder::Decode(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at + kChannels)));
      }
#pragma GCC unroll 4
      for (int m = 0; m < kRows; ++m) {
        int32_t dword;
        __builtin_memcpy(&dword, x + m * stride + k, 4);
        const __m256i pair = _mm256_set1_epi32(dword);
        const __m256 x_even = _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));
        const __m256 x_odd = _mm256_castsi256_ps(_mm256_and_si256(pair, _mm256_set1_epi32(-65536)));
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          acc[m][v] = _mm256_fmadd_ps(x_even, even[v], _mm256_fmadd_ps(x_odd, odd[v], acc[m][v]));
        }
      }
    }
  }

  template <typename Decoder, int kRows>
  [[gnu::noinline]] static void Tile(const GemmCall& call, const std::byte* panel, int64_t row, int64_t n) {
    const WeightSpec& w = *call.weight;
    const ActivationView& x = call.x;
    const Layout layout(w);
    const bool group128 = x.spec.format == ActivationFormat::kFp8Group128;
    const bool weight_groups = w.scales == ScaleLayout::kGroup;
    const auto* scales = reinterpret_cast<const float*>(panel);
    const auto* mins = reinterpret_cast<const float*>(panel + layout.mins);
    int64_t size = weight_groups ? w.group_size : (group128 ? 128 : layout.padded_k);
    if (size > w.k) size = layout.padded_k;
    alignas(32) float total[kRows][kChannels] = {};
    for (int64_t begin = 0, g = 0; begin < w.k; begin += size, ++g) {
      const int64_t end = begin + size < w.k ? begin + size : layout.padded_k;
      __m256 acc[kRows][2];
#pragma GCC unroll 4
      for (int m = 0; m < kRows; ++m) acc[m][0] = acc[m][1] = _mm256_setzero_ps();
      Chain<Decoder, kRows>(panel + layout.codes, x.template Row<uint16_t>(row), x.row_stride, begin, end, acc);
#pragma GCC unroll 4
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          float* out = &total[m][v * 8];
          if (!weight_groups && !group128) {
            _mm256_store_ps(out, acc[m][v]);
            continue;
          }
          __m256 scale = weight_groups ? _mm256_loadu_ps(scales + g * kChannels + v * 8)
                                       : _mm256_set1_ps(1.0f);
          if (group128) {
            scale = _mm256_mul_ps(_mm256_set1_ps(x.scales[(row + m) * x.scales_per_row() + g]), scale);
          }
          __m256 sum = _mm256_fmadd_ps(acc[m][v], scale, _mm256_load_ps(out));
          if (w.has_min) {
            const __m256 group_sum = _mm256_set1_ps(x.group_sums_f32[(row + m) * x.sum_groups() + g]);
            sum = _mm256_fmadd_ps(group_sum, _mm256_loadu_ps(mins + g * kChannels + v * 8), sum);
          }
          _mm256_store_ps(out, sum);
        }
      }
    }
    alignas(32) static constexpr float kOnes[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const bool token_scaled = x.spec.format == ActivationFormat::kFp8;
    for (int m = 0; m < kRows; ++m) {
      for (int v = 0; v < 2; ++v) {
        StoreOutput(call, row + m, n + v * 8, _mm256_load_ps(&total[m][v * 8]),
                    token_scaled ? x.scales + row + m : nullptr, weight_groups ? kOnes : scales + v * 8);
      }
    }
  }

  template <typename Decoder>
  static void RunPanels(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    const int64_t rows = call.x.rows;
    for (int64_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* panel = call.packed + p * static_cast<int64_t>(PanelBytes(*call.weight));
      for (int64_t row = 0; row < rows; row += kMaxRows) {
        switch (rows - row) {
          case 1: Tile<Decoder, 1>(call, panel, row, p * kChannels); break;
          case 2: Tile<Decoder, 2>(call, panel, row, p * kChannels); break;
          case 3: Tile<Decoder, 3>(call, panel, row, p * kChannels); break;
          default: Tile<Decoder, 4>(call, panel, row, p * kChannels); break;
        }
      }
    }
  }

  static void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
    const FlushDenormals flush;
    const WeightSpec& w = *call.weight;
    if (w.code == CodeType::kE4M3) return RunPanels<E4M3Decoder>(call, panel_begin, panel_end);
    if (w.code == CodeType::kE5M2) return RunPanels<E5M2Decoder>(call, panel_begin, panel_end);
    if (w.has_min) return RunPanels<UnsignedDecoder>(call, panel_begin, panel_end);
    RunPanels<SignedDecoder>(call, panel_begin, panel_end);
  }
};

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format)) return false;
  return w.code_bytes() == 1 && IsLegalPair(w, format);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  const Kernel::Layout layout(w);
  PackScales(rows.scales.data(), rows.scales.size(), layout.scale_groups, Kernel::kChannels,
             reinterpret_cast<float*>(panel));
  if (w.has_min) {
    PackScales(rows.mins.data(), rows.mins.size(), layout.scale_groups, Kernel::kChannels,
               reinterpret_cast<float*>(panel + layout.mins));
  }
  auto* out = reinterpret_cast<uint8_t*>(panel + layout.codes);
  for (int64_t k = 0; k < layout.padded_k; ++k) {
    for (int64_t c = 0; c < Kernel::kChannels; ++c) {
      out[k * Kernel::kChannels + c] = k < w.k ? rows.codes.data()[c * w.k + k] : uint8_t{0};
    }
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_decoded_avx2;
const GemmKernel kGemm_gemm_decoded_avx2 = {
    .name = "gemm_decoded_avx2",
    .isa = IsaLevel::kAvx2,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
