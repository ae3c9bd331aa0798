// SPDX-License-Identifier: Apache-2.0
// int8 activations x signed 8-bit integers (per channel, or groups with f32 scales) on AMX tiles.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_int8_rows.h"
#include "kernels/gemm/amx_int8_sums.h"

namespace octavo {
namespace {

struct Source : DirectSource<DotS8, NoMode> {
  using DirectSource::DirectSource;
  using WithoutTiles = AmxWithoutTiles<AmxInt8Rows<Source, ByteOperands>, AmxInt8Sums<Source, 4>>;
};

// Fewer than 8 bits per channel lands here too: codes are bytes.
bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (!IsInt8(format) || !IsLegalPair(w, format) || !AmxAccepts(w)) return false;
  if (w.has_min || w.scales == ScaleLayout::kTwoLevel || w.k > 65792) return false;
  return w.scales != ScaleLayout::kGroup || w.bits > 4;
}

// Without groups a k step has all 16 quads of a tile.
void Columns(const WeightSpec& w, const std::byte* panel, const uint16_t* columns, int64_t count, float* out) {
  const AmxLayout layout(w, DotS8::kTileK);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t k = columns[i];
    const std::byte* step = panel + layout.codes + k / layout.tile_k * Source::StepBytes(layout);
    for (int v = 0; v < 2; ++v, out += 16) {
      const __m512i codes = _mm512_load_si512(step + (v * layout.tile_k / 4 + k % layout.tile_k / 4) * 64);
      _mm512_storeu_ps(out, ScaledByte(codes, k, layout.scales.Load(panel + layout.header, 0, v * 16)));
    }
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_w8a8_amx;
const GemmKernel kGemm_gemm_w8a8_amx = AmxKernel<Source>("gemm_w8a8_amx", Accepts, Columns);

}  // namespace octavo
