// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x unsigned 8-bit integers with mins, decoded to bf16 through f32.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512_bf16.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {
namespace {

using Kernel = DecodedBf16<Uint8Decoder, NativePairs>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format)) return false;
  return w.code == CodeType::kInt && w.bits > 4 && w.has_min && IsLegalPair(w, format);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w8a16_asym_avx512_bf16;
const GemmKernel kGemm_gemm_w8a16_asym_avx512_bf16 = {
    .name = "gemm_w8a16_asym_avx512_bf16",
    .isa = IsaLevel::kAvx512Bf16,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Kernel::Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
