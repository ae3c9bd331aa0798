// SPDX-License-Identifier: Apache-2.0
// int8 activations x bytes without VNNI: both widened to 16 bits for vpmaddwd, which is exact for every
// code; scales per channel, or groups with f32 scales.
//
// vpmaddubsw would need fewer instructions but saturates: two products of u8 x s8 reach 65280.
#include "kernels/gemm/simd_avx2.h"
//
#include "kernels/gemm/grouped_int8_avx2.h"

namespace octavo {
namespace {

// [2][16][2] bytes; decoded the same as 16 bits. Activations become 16 bits, too, so that a pair is one
// broadcast load.
struct Bytes {
  using X = int16_t;
  static constexpr int64_t kBlockK = 4;
  static constexpr int kDirectTile = 6;
  static constexpr bool kOffsetSigned = false, kTwoLevel = false;

  // + 32: rows of usual sizes do not share an L1 set.
  static int64_t XStride(int64_t cols) { return RoundUp(cols, 16) + 32; }
  static int64_t XBytes(int64_t rows, int64_t cols) { return rows * XStride(cols) * 2; }
  // About 1 MiB, for L2; and not so few that decoding panels again counts.
  static int64_t BlockRows(int64_t cols) {
    const int64_t rows = (int64_t{1} << 19) / XStride(cols) / 6 * 6;
    return rows < 60 ? 60 : rows;
  }
  static const X* Rows(const int8_t* x, int64_t rows, int64_t cols, X* out, int64_t& stride) {
    const int64_t out_stride = XStride(cols);
    for (int64_t m = 0; m < rows; ++m, x += stride) {
      for (int64_t k = 0; k < cols; k += 16) {  // rows are padded beyond their end
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + m * out_stride + k),
                            Widen(reinterpret_cast<const std::byte*>(x + k)));
      }
    }
    stride = out_stride;
    return out;
  }

  static __m256i Correct(__m256i dot, __m256i sum) { return _mm256_add_epi32(dot, _mm256_slli_epi32(sum, 7)); }

  static void Pack(const uint8_t* block, int64_t channel, bool is_signed, std::byte* out) {
    for (int t = 0; t < kBlockK; ++t) {
      out[t / 2 * 32 + channel * 2 + t % 2] = static_cast<std::byte>(block[t] ^ (is_signed ? 0 : 128));
    }
  }

  [[gnu::always_inline]] static __m256i Widen(const std::byte* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  [[gnu::always_inline]] static void Decode(const std::byte* block, std::byte* out) {
    for (int i = 0; i < 4; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * 32), Widen(block + i * 16));
  }

  // Adds one block to 32-bit sums.
  template <int kRows, bool kDecoded>
  [[gnu::always_inline]] static void AddBlock(const std::byte* codes, const X* x, int64_t stride,
                                              __m256i (&dot)[kRows][2]) {
    if (!kDecoded) __builtin_prefetch(codes + 4096, 0, 3);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i w[2];
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const int at = half * 2 + v;
        w[v] = kDecoded ? Load(codes + at * 32) : Widen(codes + at * 16);
      }
#pragma GCC unroll 6
      for (int m = 0; m < kRows; ++m) {
        const __m256i pair = BroadcastDword(x + m * stride + half * 2);
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          dot[m][v] = _mm256_add_epi32(dot[m][v], _mm256_madd_epi16(w[v], pair));
          KeepInRegister(dot[m][v]);  // or GCC reorders the additions and spills
        }
      }
    }
  }

  template <int kRows, bool kDecoded>
  [[gnu::always_inline]] static void GroupDot(const std::byte* codes, const X* x, int64_t stride,
                                              int64_t blocks, int32_t (*dots)[16]) {
    constexpr int64_t kBytes = kDecoded ? 128 : 64;
    __m256i dot[kRows][2];
#pragma GCC unroll 6
    for (int m = 0; m < kRows; ++m) dot[m][0] = dot[m][1] = _mm256_setzero_si256();
    for (int64_t b = 0; b < blocks; ++b, codes += kBytes, x += kBlockK) {
      AddBlock<kRows, kDecoded>(codes, x, stride, dot);
    }
#pragma GCC unroll 6
    for (int m = 0; m < kRows; ++m) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(dots[m]), dot[m][0]);
      _mm256_store_si256(reinterpret_cast<__m256i*>(dots[m] + 8), dot[m][1]);
    }
  }
};
using Kernel = GroupedInt8<Bytes>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (!IsInt8(format) || !IsLegalPair(w, format) || w.k > 65792) return false;
  const bool channels = w.scales == ScaleLayout::kNone || w.scales == ScaleLayout::kChannel;
  return channels || (w.bits > 4 && AcceptsGroupedInt8(w, format));
}

// Signed codes only: those with a scale per channel.
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
    .pack = Kernel::Pack,
    .run = Kernel::Multiply,
    .columns = Columns,
};

}  // namespace octavo
