// SPDX-License-Identifier: Apache-2.0
// int8 activations x 4-bit integers with group scales (two-level or f32), by vpdpbusd on nibbles.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/grouped_int8.h"

namespace octavo {
namespace {

using Kernel = GroupedInt8<NibbleCodes>;

}  // namespace

extern const GemmKernel kGemm_gemm_w4a8_avx512_vnni;
const GemmKernel kGemm_gemm_w4a8_avx512_vnni = {
    .name = "gemm_w4a8_avx512_vnni",
    .isa = IsaLevel::kAvx512Vnni,
    .accepts = Kernel::Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Kernel::Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
