// SPDX-License-Identifier: Apache-2.0
// int8 activations x 4-bit integers with group scales (two-level or f32), by vpdpbusd on nibbles.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/grouped_int8.h"

namespace octavo {
extern const GemmKernel kGemm_gemm_w4a8_avx512_vnni;
const GemmKernel kGemm_gemm_w4a8_avx512_vnni = GroupedInt8Kernel<NibbleCodes>("gemm_w4a8_avx512_vnni");

}  // namespace octavo
