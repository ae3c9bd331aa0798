// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x unsigned 8-bit integers with mins, decoded through f32, without vdpbf16ps.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {
namespace {

using Kernel = DecodedBf16<Uint8Decoder, FmaPairs>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format == ActivationFormat::kF32 || IsInt8(format)) return false;
  return w.code == CodeType::kInt && w.bits > 4 && w.has_min && IsLegalPair(w, format);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w8a16_asym_avx512_vnni;
const GemmKernel kGemm_gemm_w8a16_asym_avx512_vnni = {
    .name = "gemm_w8a16_asym_avx512_vnni",
    .isa = IsaLevel::kAvx512Vnni,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Kernel::Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
