// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x unsigned 8-bit integers with mins, decoded to bf16 through f32.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512_bf16.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {

extern const GemmKernel kGemm_gemm_w8a16_asym_avx512_bf16;
const GemmKernel kGemm_gemm_w8a16_asym_avx512_bf16 =
    DecodedBf16Kernel<Uint8Decoder, NativePairs>("gemm_w8a16_asym_avx512_bf16", IsaLevel::kAvx512Bf16);

}  // namespace octavo
