// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x signed 8-bit integers, decoded to bf16 tiles in L1.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_decoded.h"

namespace octavo {
namespace {

using Source = DecodedSource<Int8Decoder>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format) || w.code != CodeType::kInt || w.bits <= 4 || w.has_min) return false;
  return IsLegalPair(w, format) && AmxAccepts(w);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w8a16_amx;
const GemmKernel kGemm_gemm_w8a16_amx = {
    .name = "gemm_w8a16_amx",
    .isa = IsaLevel::kAmx,
    .accepts = Accepts,
    .panel_channels = kAmxChannels,
    .panel_bytes = Amx<Source>::PanelBytes,
    .pack = Source::Pack,
    .run = Amx<Source>::Run,
    .reads_tiles = true,
};

}  // namespace octavo
