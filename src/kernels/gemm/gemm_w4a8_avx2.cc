// SPDX-License-Identifier: Apache-2.0
// int8 activations x 4-bit integers with group scales (two-level or f32) by vpmaddubsw.
//
// Two products of a nibble and an int8 fit 16 bits, and so do eight such pairs (8 * 2 * 15 * 127 = 30480):
// sums stay in 16-bit lanes for 32 columns, then vpmaddwd widens them. Exact.
#include "kernels/gemm/simd_avx2.h"
//
#include "kernels/gemm/grouped_int8_avx2.h"

namespace octavo {
namespace {

// 8 columns x 8 channels are 32 bytes: byte 4c + t holds columns t (low) and t + 4 (high) of channel c.
// Decoded: [2][16][4] bytes.
struct Nibbles {
  using X = int8_t;
  static constexpr int64_t kBlockK = 8;
  static constexpr int kDirectTile = 4;
  static constexpr bool kOffsetSigned = true, kTwoLevel = true;
  static constexpr int64_t kRunBlocks = 4;  // that 16-bit sums hold

  static int64_t BlockRows(int64_t) { return INT64_MAX; }
  static int64_t XBytes(int64_t, int64_t) { return 0; }
  static const X* Rows(const int8_t* x, int64_t, int64_t, X*, int64_t&) { return x; }

  static __m256i Correct(__m256i dot, __m256i sum) { return _mm256_sub_epi32(dot, _mm256_slli_epi32(sum, 3)); }

  static void Pack(const uint8_t* block, int64_t channel, bool is_signed, std::byte* out) {
    uint32_t quads[2];
    __builtin_memcpy(quads, block, sizeof quads);
    const uint32_t nibbles = (quads[0] & 0x0f0f0f0fu) | (quads[1] & 0x0f0f0f0fu) << 4;
    reinterpret_cast<uint32_t*>(out)[channel] = nibbles ^ (is_signed ? 0x88888888u : 0);
  }

  [[gnu::always_inline]] static void Decode(const std::byte* block, std::byte* out) {
    const __m256i mask = _mm256_set1_epi8(15);
    for (int v = 0; v < 2; ++v) {
      const __m256i raw = Load(block + v * 32);
      auto* to = reinterpret_cast<__m256i*>(out + v * 32);
      _mm256_store_si256(to, _mm256_and_si256(raw, mask));
      _mm256_store_si256(to + 2, _mm256_and_si256(_mm256_srli_epi16(raw, 4), mask));
    }
  }

  // Adds one block to sums in 16-bit lanes, two per channel; starts them if it is the first.
  template <int kRows, bool kDecoded>
  [[gnu::always_inline]] static void AddBlock(const std::byte* codes, const int8_t* x, int64_t stride, bool first,
                                              __m256i (&sum)[kRows][2]) {
    if (!kDecoded) __builtin_prefetch(codes + 4096, 0, 3);
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
        const __m256i quad = BroadcastDword(x + m * stride + q * 4);
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
                                           int32_t (*dots)[16]) {
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
                                              int64_t blocks, int32_t (*dots)[16]) {
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
};
using Kernel = GroupedInt8<Nibbles>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return w.bits <= 4 && AcceptsGroupedInt8(w, format);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w4a8_avx2;
const GemmKernel kGemm_gemm_w4a8_avx2 = {
    .name = "gemm_w4a8_avx2",
    .isa = IsaLevel::kAvx2,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Kernel::Pack,
    .run = Kernel::Multiply,
};

}  // namespace octavo
