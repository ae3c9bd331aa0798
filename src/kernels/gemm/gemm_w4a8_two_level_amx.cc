// SPDX-License-Identifier: Apache-2.0
// int8 activations x QoQ's two-level 4-bit integers, decoded to int8 AMX tiles.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_decoded.h"
#include "kernels/gemm/amx_int8_sums.h"

namespace octavo {
namespace {

struct Source : TwoLevelSource {
  using TwoLevelSource::TwoLevelSource;
  using WithoutTiles = AmxWithoutTiles<AmxInt8Sums<Source, 1>>;
};

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (format != ActivationFormat::kInt8 || w.code != CodeType::kInt || w.bits > 4 || w.scales != ScaleLayout::kTwoLevel) return false;
  return IsLegalPair(w, format) && AmxAccepts(w);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w4a8_two_level_amx;
const GemmKernel kGemm_gemm_w4a8_two_level_amx = AmxKernel<Source>("gemm_w4a8_two_level_amx", Accepts);

}  // namespace octavo
