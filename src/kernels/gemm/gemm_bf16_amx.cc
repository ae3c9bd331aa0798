// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x bf16 weights on AMX tiles, in the summation order of TDPBF16PS.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx.h"

namespace octavo {
namespace {

using Source = DirectSource<DotBf16, FlushDenormals>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return format != ActivationFormat::kF32 && w.code == CodeType::kBf16 && IsLegalPair(w, format) &&
         AmxAccepts(w);
}

}  // namespace

extern const GemmKernel kGemm_gemm_bf16_amx;
const GemmKernel kGemm_gemm_bf16_amx = AmxKernel<Source>("gemm_bf16_amx", Accepts);

}  // namespace octavo
