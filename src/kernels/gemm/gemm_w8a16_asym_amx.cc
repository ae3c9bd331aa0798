// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x unsigned 8-bit integers with mins, decoded to bf16 tiles in L1.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_decoded.h"

namespace octavo {

extern const GemmKernel kGemm_gemm_w8a16_asym_amx;
const GemmKernel kGemm_gemm_w8a16_asym_amx = DecodedAmxKernel<Uint8Decoder>("gemm_w8a16_asym_amx");

}  // namespace octavo
