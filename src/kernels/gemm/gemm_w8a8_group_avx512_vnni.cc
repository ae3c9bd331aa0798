// SPDX-License-Identifier: Apache-2.0
// int8 activations x 8-bit integers with f32 group scales, by vpdpbusd.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/grouped_int8.h"

namespace octavo {
namespace {

using Kernel = GroupedInt8<ByteCodes>;

}  // namespace

extern const GemmKernel kGemm_gemm_w8a8_group_avx512_vnni;
const GemmKernel kGemm_gemm_w8a8_group_avx512_vnni = {
    .name = "gemm_w8a8_group_avx512_vnni",
    .isa = IsaLevel::kAvx512Vnni,
    .accepts = Kernel::Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Kernel::Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
