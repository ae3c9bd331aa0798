// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x FP8 weights: vpermi2b decodes every code exactly to bf16 for vdpbf16ps.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512_bf16.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {

extern const GemmKernel kGemm_gemm_fp8_avx512_bf16;
const GemmKernel kGemm_gemm_fp8_avx512_bf16 =
    DecodedBf16Kernel<Float8Decoder, NativePairs>("gemm_fp8_avx512_bf16", IsaLevel::kAvx512Bf16);

}  // namespace octavo
