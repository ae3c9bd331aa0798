// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x signed 8-bit integers, decoded to bf16 by table for vdpbf16ps.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512_bf16.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {

extern const GemmKernel kGemm_gemm_w8a16_avx512_bf16;
const GemmKernel kGemm_gemm_w8a16_avx512_bf16 =
    DecodedBf16Kernel<Int8Decoder, NativePairs>("gemm_w8a16_avx512_bf16", IsaLevel::kAvx512Bf16);

}  // namespace octavo
