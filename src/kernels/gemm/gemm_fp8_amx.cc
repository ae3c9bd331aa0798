// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x FP8 weights, decoded exactly to bf16 tiles in L1.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_decoded.h"

namespace octavo {
namespace {

using Source = DecodedSource<Float8Decoder>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format) || (w.code != CodeType::kE4M3 && w.code != CodeType::kE5M2)) return false;
  return IsLegalPair(w, format) && AmxAccepts(w);
}

}  // namespace

extern const GemmKernel kGemm_gemm_fp8_amx;
const GemmKernel kGemm_gemm_fp8_amx = {
    .name = "gemm_fp8_amx",
    .isa = IsaLevel::kAmx,
    .accepts = Accepts,
    .panel_channels = kAmxChannels,
    .panel_bytes = Amx<Source>::PanelBytes,
    .pack = Source::Pack,
    .run = Amx<Source>::Run,
    .reads_tiles = true,
};

}  // namespace octavo
