// SPDX-License-Identifier: Apache-2.0
// Tile sources for the AMX kernel that decode: a chunk of packed codes becomes B tiles in L1, which all
// rows of the block then use. Include after amx.h.
#pragma once

#include "kernels/gemm/amx.h"
#include "kernels/gemm/decode_avx512.h"
#include "kernels/gemm/grouped_int8.h"

namespace octavo {
namespace {

// Decodes a chunk, which is in L2 by now.
template <typename Source>
[[gnu::always_inline]] inline const std::byte* DecodeSteps(const Source& source, const std::byte* panel,
                                                           int64_t step, int64_t steps, int64_t tile_bytes,
                                                           std::byte* scratch) {
  const Source local = source;  // keeps tables in registers
  for (int64_t s = 0; s < steps; ++s) local.DecodeStep(panel, step + s, 512, scratch + s * tile_bytes);
  return scratch;
}

// bf16 tiles from any decoder of decode_avx512.h. A step of 32 (or 16) columns x 32 channels is
// [2 halves][tile_k / kBlockK] blocks of 64 bytes.
template <typename Decoder>
struct DecodedSource {
  using Dot = DotBf16;
  using Mode = FlushDenormals;
  static constexpr int64_t kChunkSteps = 12;
  static constexpr int64_t kScratchBytes = kChunkSteps * 2048;
  Decoder decoder;
  int64_t codes, tile_k, step_blocks;

  DecodedSource(const WeightSpec& w, const AmxLayout& layout)
      : decoder(w), codes(layout.codes), tile_k(layout.tile_k), step_blocks(StepBytes(layout) / 64) {}
  static int64_t CodesOffset(const WeightSpec&, const AmxLayout& layout) { return layout.codes; }
  static int64_t StepBytes(const AmxLayout& layout) { return 2 * layout.tile_k / Decoder::kBlockK * 64; }
  TileShape Shape() const {
    return {16, 16, static_cast<int>(tile_k) * Dot::kElementBytes, static_cast<int>(tile_k) / 2};
  }

  // Decodes one k step; fetches `ahead` bytes further on.
  [[gnu::always_inline]] void DecodeStep(const std::byte* panel, int64_t step, int64_t ahead,
                                         std::byte* out) const {
    const std::byte* in = panel + codes + step * step_blocks * 64;
#pragma GCC unroll 2
    for (int64_t b = 0; b < step_blocks; ++b) {
      __m512i rows[Decoder::kPairs];
      __builtin_prefetch(in + ahead, 0, 2);
      decoder.Decode(_mm512_load_si512(in), rows);
#pragma GCC unroll 4
      for (int p = 0; p < Decoder::kPairs; ++p) _mm512_store_si512(out + p * 64, rows[p]);
      in += 64;
      out += Decoder::kPairs * 64;
    }
  }
  [[gnu::noinline]] const std::byte* Tiles(const std::byte* panel, int64_t step, int64_t steps,
                                           std::byte* scratch) const {
    return DecodeSteps(*this, panel, step, steps, tile_k * 64, scratch);
  }

  static void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
    Amx<DecodedSource>::PackHeader(w, rows, panel);
    const AmxLayout layout(w, Dot::kTileK);
    std::byte* out = panel + layout.codes;
    for (int64_t step = 0; step < layout.steps; ++step) {
      for (int v = 0; v < 2; ++v) {
        for (int64_t b = 0; b < layout.tile_k / Decoder::kBlockK; ++b, out += 64) {
          Decoder::Pack(rows.codes.data() + v * 16 * w.k, w.k,
                        step * layout.tile_k + b * Decoder::kBlockK, w.k, out);
        }
      }
    }
  }
};

// Nibbles to int8 tiles. A step of 64 (or 32) columns is [2 halves][8 (4)] blocks of 64 bytes, in the
// layout of NibbleCodes.
struct NibbleLayout {
  static constexpr int64_t kChunkSteps = 12;
  static constexpr int64_t kScratchBytes = kChunkSteps * 2048;

  static int64_t HalfBytes(const AmxLayout& layout) { return layout.tile_k / 8 * 64; }

  static void PackCodes(const WeightSpec& w, const WeightRows& rows, const AmxLayout& layout,
                        std::byte* out) {
    const __m512i keep = _mm512_setzero_si512();
    for (int64_t step = 0; step < layout.steps; ++step) {
      for (int v = 0; v < 2; ++v) {
        for (int64_t b = 0; b < layout.tile_k / 8; ++b, out += 64) {
          NibbleCodes::Pack(rows.codes.data() + v * 16 * w.k, w.k, step * layout.tile_k + b * 8, w.k,
                            keep, out);
        }
      }
    }
  }
};

// f32 group scales: tiles hold the codes themselves.
struct NibbleSource : NibbleLayout {
  using Dot = DotS8;
  using Mode = NoMode;
  int64_t codes, half_bytes, tile_k;
  bool is_signed;

  NibbleSource(const WeightSpec& w, const AmxLayout& layout)
      : codes(layout.codes), half_bytes(HalfBytes(layout)), tile_k(layout.tile_k), is_signed(!w.has_min) {}
  static int64_t CodesOffset(const WeightSpec&, const AmxLayout& layout) { return layout.codes; }
  static int64_t StepBytes(const AmxLayout& layout) { return 2 * HalfBytes(layout); }
  TileShape Shape() const { return {16, 16, static_cast<int>(tile_k), static_cast<int>(tile_k) / 4}; }

  [[gnu::always_inline]] void DecodeStep(const std::byte* panel, int64_t step, int64_t ahead,
                                         std::byte* out) const {
    // (n ^ 8) - 8 extends the sign of a nibble.
    const __m512i sign = _mm512_set1_epi8(is_signed ? 8 : 0);
    const std::byte* in = panel + codes + step * 2 * half_bytes;
    for (const std::byte* end = in + 2 * half_bytes; in < end; in += 64, out += 128) {
      __m512i rows[2];
      __builtin_prefetch(in + ahead, 0, 2);
      NibbleCodes::Decode(_mm512_load_si512(in), rows);
      _mm512_store_si512(out, _mm512_sub_epi8(_mm512_xor_si512(rows[0], sign), sign));
      _mm512_store_si512(out + 64, _mm512_sub_epi8(_mm512_xor_si512(rows[1], sign), sign));
    }
  }
  [[gnu::noinline]] const std::byte* Tiles(const std::byte* panel, int64_t step, int64_t steps,
                                           std::byte* scratch) const {
    return DecodeSteps(*this, panel, step, steps, 4 * half_bytes, scratch);
  }

  static void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
    Amx<NibbleSource>::PackHeader(w, rows, panel);
    const AmxLayout layout(w, Dot::kTileK);
    PackCodes(w, rows, layout, panel + layout.codes);
  }
};

// Two-level integers: tiles hold (u - zero2) * scale2, which QoQ keeps within int8. A panel where it
// does not fit is marked and multiplied by scalar code: exact, slow, and not found in practice.
//
// Between scales and codes: [scale2 g][32] u8, [zero2 g][32] u8. One 16-bit multiply scales two codes,
// for 15 * scale2 <= 255 keeps the low product out of the high byte.
struct TwoLevelSource : NibbleLayout {
  using Dot = DotS8;
  using Mode = NoMode;
  int64_t scales2, zeros2, codes, half_bytes, group_steps, tile_k;

  TwoLevelSource(const WeightSpec& w, const AmxLayout& layout)
      : scales2(layout.codes),
        zeros2(layout.codes + DivUp(w.k, w.group_size) * kAmxChannels),
        codes(CodesOffset(w, layout)),
        half_bytes(HalfBytes(layout)),
        group_steps(w.group_size >= w.k ? layout.steps : w.group_size / layout.tile_k),
        tile_k(layout.tile_k) {}
  static int64_t CodesOffset(const WeightSpec& w, const AmxLayout& layout) {
    return RoundUp(layout.codes + 2 * DivUp(w.k, w.group_size) * kAmxChannels, 64);
  }
  static int64_t StepBytes(const AmxLayout& layout) { return 2 * HalfBytes(layout); }
  TileShape Shape() const { return {16, 16, static_cast<int>(tile_k), static_cast<int>(tile_k) / 4}; }

  // 16 bytes, each four times over in the dword of its channel.
  static __m512i Spread(const std::byte* p) {
    const __m512i dwords = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm512_mullo_epi32(dwords, _mm512_set1_epi32(0x01010101));
  }

  [[gnu::always_inline]] void DecodeStep(const std::byte* panel, int64_t step, int64_t ahead,
                                         std::byte* out) const {
    const std::byte* in = panel + codes + step * 2 * half_bytes;
    const int64_t group = step / group_steps * kAmxChannels;
    for (int v = 0; v < 2; ++v) {
      const __m512i scale = _mm512_and_si512(Spread(panel + scales2 + group + v * 16),
                                             _mm512_set1_epi16(0xff));
      const __m512i zero = _mm512_mullo_epi16(Spread(panel + zeros2 + group + v * 16), scale);
      for (const std::byte* end = in + half_bytes; in < end; in += 64, out += 128) {
        __m512i rows[2];
        __builtin_prefetch(in + ahead, 0, 2);
        NibbleCodes::Decode(_mm512_load_si512(in), rows);
        _mm512_store_si512(out, _mm512_sub_epi8(_mm512_mullo_epi16(rows[0], scale), zero));
        _mm512_store_si512(out + 64, _mm512_sub_epi8(_mm512_mullo_epi16(rows[1], scale), zero));
      }
    }
  }
  [[gnu::noinline]] const std::byte* Tiles(const std::byte* panel, int64_t step, int64_t steps,
                                           std::byte* scratch) const {
    return DecodeSteps(*this, panel, step, steps, 4 * half_bytes, scratch);
  }

  static bool Fits(const std::byte* panel) { return panel[0] == std::byte{0}; }

  static void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
    const AmxLayout layout(w, Dot::kTileK);
    Amx<TwoLevelSource>::PackHeader(w, rows, panel);
    const int64_t groups = DivUp(w.k, w.group_size);
    auto* scales = reinterpret_cast<uint8_t*>(panel + layout.codes);
    auto* zeros = scales + groups * kAmxChannels;
    bool fits = true;
    for (int64_t c = 0; c < kAmxChannels; ++c) {
      const uint8_t* codes = rows.codes.data() + c * w.k;
      for (int64_t g = 0; g < groups; ++g) {
        const int scale = rows.scales2.data()[c * groups + g], zero = rows.zeros2.data()[c * groups + g];
        scales[g * kAmxChannels + c] = static_cast<uint8_t>(scale);
        zeros[g * kAmxChannels + c] = static_cast<uint8_t>(zero);
        int low = 255, high = 0;
        const int64_t end = (g + 1) * w.group_size < w.k ? (g + 1) * w.group_size : w.k;
        for (int64_t k = g * w.group_size; k < end; ++k) {
          low = codes[k] < low ? codes[k] : low;
          high = codes[k] > high ? codes[k] : high;
        }
        fits = fits && scale <= 17 && zero <= 15 && (low - zero) * scale >= -128 &&
               (high - zero) * scale <= 127;
      }
    }
    panel[0] = static_cast<std::byte>(fits ? 0 : 1);
    PackCodes(w, rows, layout, panel + CodesOffset(w, layout));
  }

  static int Code(const std::byte* codes, const AmxLayout& layout, int64_t c, int64_t k) {
    const int64_t step = k / layout.tile_k, block = k % layout.tile_k / 8, t = k % 8;
    const std::byte* at =
        codes + (step * 2 + c / 16) * HalfBytes(layout) + block * 64 + c % 16 * 4 + t % 4;
    return (static_cast<int>(*at) >> (t / 4 * 4)) & 15;
  }

  [[gnu::noinline]] static void RunUnfit(const GemmCall& call, const AmxLayout& layout,
                                         const std::byte* panel, int64_t row, int64_t rows, int64_t n) {
    const WeightSpec& w = *call.weight;
    const int64_t groups = DivUp(w.k, w.group_size);
    const auto* scales2 = reinterpret_cast<const uint8_t*>(panel + layout.codes);
    const uint8_t* zeros2 = scales2 + groups * kAmxChannels;
    const std::byte* codes = panel + CodesOffset(w, layout);
    for (int64_t m = row; m < row + rows; ++m) {
      alignas(64) int32_t total[kAmxChannels];
      for (int64_t c = 0; c < kAmxChannels; ++c) {
        int32_t sum = 0;
        for (int64_t k = 0; k < w.k; ++k) {
          const int64_t at = k / w.group_size * kAmxChannels + c;
          sum += static_cast<int8_t>(*call.x.At(m, k)) * (Code(codes, layout, c, k) - zeros2[at]) * scales2[at];
        }
        total[c] = sum;
      }
      for (int v = 0; v < 2; ++v) {
        StoreOutput(call, m, n + v * 16, _mm512_cvtepi32_ps(_mm512_load_si512(total + v * 16)),
                    call.x.scales + m, reinterpret_cast<const float*>(panel + layout.header) + v * 16);
      }
    }
  }
};

template <typename Decoder, typename Source = DecodedSource<Decoder>>
constexpr GemmKernel DecodedAmxKernel(const char* name) {
  return AmxKernel<Source>(name, [](const WeightSpec& w, ActivationFormat format) {
    return AcceptsDecoded<Decoder>(w, format) && AmxAccepts(w);
  });
}

}  // namespace
}  // namespace octavo
