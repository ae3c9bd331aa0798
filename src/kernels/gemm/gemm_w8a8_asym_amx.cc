// SPDX-License-Identifier: Apache-2.0
// int8 activations x unsigned 8-bit integers with mins per group, on AMX tiles.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/amx_int8_rows.h"

namespace octavo {
namespace {

struct Source : DirectSource<DotU8, NoMode> {
  using DirectSource::DirectSource;
  using WithoutTiles = AmxWithoutTiles<AmxInt8Rows<Source, ByteOperands>>;
};

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  if (!IsInt8(format) || w.code != CodeType::kInt || w.bits <= 4 || !w.has_min || w.k > 65792) return false;
  return IsLegalPair(w, format) && AmxAccepts(w);
}

}  // namespace

extern const GemmKernel kGemm_gemm_w8a8_asym_amx;
const GemmKernel kGemm_gemm_w8a8_asym_amx = AmxKernel<Source>("gemm_w8a8_asym_amx", Accepts);

}  // namespace octavo
