// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x FP8 weights, decoded by vpermi2b, without vdpbf16ps.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {
namespace {

using Kernel = DecodedBf16<Float8Decoder, FmaPairs>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format)) return false;
  return (w.code == CodeType::kE4M3 || w.code == CodeType::kE5M2) && IsLegalPair(w, format);
}

}  // namespace

extern const GemmKernel kGemm_gemm_fp8_avx512_vnni;
const GemmKernel kGemm_gemm_fp8_avx512_vnni = {
    .name = "gemm_fp8_avx512_vnni",
    .isa = IsaLevel::kAvx512Vnni,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Kernel::Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
