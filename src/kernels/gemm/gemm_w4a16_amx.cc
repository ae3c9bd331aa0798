// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x integers of up to 4 bits: nibbles decoded to bf16 tiles in L1.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_decoded.h"
#include "kernels/gemm/amx_nibble_row.h"

namespace octavo {
namespace {

struct Source : DecodedSource<NibbleDecoder> {
  using DecodedSource::DecodedSource;
  using OneRow = AmxNibbleRow<Source>;
};

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format) || w.code != CodeType::kInt || w.bits > 4) return false;
  return IsLegalPair(w, format) && AmxAccepts(w);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w4a16_amx;
const GemmKernel kGemm_gemm_w4a16_amx = {
    .name = "gemm_w4a16_amx",
    .isa = IsaLevel::kAmx,
    .accepts = Accepts,
    .panel_channels = kAmxChannels,
    .panel_bytes = Amx<Source>::PanelBytes,
    .pack = Source::Pack,
    .run = Amx<Source>::Run,
    .reads_tiles = true,
};

}  // namespace octavo
