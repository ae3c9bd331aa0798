// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x FP8 weights, decoded exactly to bf16 tiles in L1.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_decoded.h"

namespace octavo {

extern const GemmKernel kGemm_gemm_fp8_amx;
const GemmKernel kGemm_gemm_fp8_amx = DecodedAmxKernel<Float8Decoder>("gemm_fp8_amx");

}  // namespace octavo
