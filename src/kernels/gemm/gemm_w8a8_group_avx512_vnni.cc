// SPDX-License-Identifier: Apache-2.0
// int8 activations x 8-bit integers with f32 group scales, by vpdpbusd.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/grouped_int8.h"

namespace octavo {
extern const GemmKernel kGemm_gemm_w8a8_group_avx512_vnni;
const GemmKernel kGemm_gemm_w8a8_group_avx512_vnni = GroupedInt8Kernel<ByteCodes>("gemm_w8a8_group_avx512_vnni");

}  // namespace octavo
