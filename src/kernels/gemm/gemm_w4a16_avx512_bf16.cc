// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x integers of up to 4 bits: vpermw decodes nibbles to bf16 for vdpbf16ps.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512_bf16.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {
namespace {

using Kernel = DecodedBf16<NibbleDecoder, NativePairs>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format)) return false;
  return w.code == CodeType::kInt && w.bits <= 4 && IsLegalPair(w, format);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w4a16_avx512_bf16;
const GemmKernel kGemm_gemm_w4a16_avx512_bf16 = {
    .name = "gemm_w4a16_avx512_bf16",
    .isa = IsaLevel::kAvx512Bf16,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Kernel::Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
