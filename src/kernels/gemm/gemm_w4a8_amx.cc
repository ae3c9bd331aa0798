// SPDX-License-Identifier: Apache-2.0
// int8 activations x 4-bit integers with f32 group scales, on int8 AMX tiles.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_int8_rows.h"

namespace octavo {
namespace {

struct Source : NibbleSource {
  using NibbleSource::NibbleSource;
  using WithoutTiles = AmxWithoutTiles<AmxInt8Rows<Source, NibbleOperands>>;
};

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (!IsInt8(format) || w.code != CodeType::kInt || w.bits > 4 || w.scales != ScaleLayout::kGroup || w.k > 65792) return false;
  return IsLegalPair(w, format) && AmxAccepts(w);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w4a8_amx;
const GemmKernel kGemm_gemm_w4a8_amx = AmxKernel<Source>("gemm_w4a8_amx", Accepts);

}  // namespace octavo
