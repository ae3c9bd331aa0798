// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x signed 8-bit integers, decoded to bf16 tiles in L1.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_decoded.h"

namespace octavo {

extern const GemmKernel kGemm_gemm_w8a16_amx;
const GemmKernel kGemm_gemm_w8a16_amx = DecodedAmxKernel<Int8Decoder>("gemm_w8a16_amx");

}  // namespace octavo
