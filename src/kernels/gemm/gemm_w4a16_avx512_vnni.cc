// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x integers of up to 4 bits, decoded by vpermw, without vdpbf16ps.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512.h"
#include "kernels/gemm/decoded_bf16.h"

namespace octavo {

extern const GemmKernel kGemm_gemm_w4a16_avx512_vnni;
const GemmKernel kGemm_gemm_w4a16_avx512_vnni =
    DecodedBf16Kernel<NibbleDecoder, FmaPairs>("gemm_w4a16_avx512_vnni", IsaLevel::kAvx512Vnni);

}  // namespace octavo
