// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x integers of up to 4 bits: nibbles decoded to bf16 tiles in L1.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_decoded.h"
#include "kernels/gemm/amx_nibble_row.h"

namespace octavo {
namespace {

struct Source : DecodedSource<NibbleDecoder> {
  using DecodedSource::DecodedSource;
  using WithoutTiles = AmxWithoutTiles<AmxNibbleRow<Source>>;
};

}  // namespace

extern const GemmKernel kGemm_gemm_w4a16_amx;
const GemmKernel kGemm_gemm_w4a16_amx = DecodedAmxKernel<NibbleDecoder, Source>("gemm_w4a16_amx");

}  // namespace octavo
