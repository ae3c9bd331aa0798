// SPDX-License-Identifier: Apache-2.0
// int8 activations x signed 8-bit integers (per channel, or groups with f32 scales) on AMX tiles.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx.h"

namespace octavo {
namespace {

using Source = DirectSource<DotS8, NoMode>;

// Fewer than 8 bits per channel lands here too: codes are bytes.
bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format != ActivationFormat::kInt8 || !IsLegalPair(w, format) || !AmxAccepts(w)) return false;
  if (w.has_min || w.scales == ScaleLayout::kTwoLevel || w.k > 65792) return false;
  return w.scales != ScaleLayout::kGroup || w.bits > 4;
}

}  // namespace

extern const GemmKernel kGemm_gemm_w8a8_amx;
const GemmKernel kGemm_gemm_w8a8_amx = {
    .name = "gemm_w8a8_amx",
    .isa = IsaLevel::kAmx,
    .accepts = Accepts,
    .panel_channels = kAmxChannels,
    .panel_bytes = Amx<Source>::PanelBytes,
    .pack = Source::Pack,
    .run = Amx<Source>::Run,
    .reads_tiles = true,
};

}  // namespace octavo
