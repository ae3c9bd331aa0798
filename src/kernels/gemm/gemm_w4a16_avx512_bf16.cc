// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x integers of up to 4 bits: vpermw decodes nibbles to bf16 for vdpbf16ps.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512_bf16.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {

extern const GemmKernel kGemm_gemm_w4a16_avx512_bf16;
const GemmKernel kGemm_gemm_w4a16_avx512_bf16 =
    DecodedBf16Kernel<NibbleDecoder, NativePairs>("gemm_w4a16_avx512_bf16", IsaLevel::kAvx512Bf16);

}  // namespace octavo
