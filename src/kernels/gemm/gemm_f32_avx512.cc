// SPDX-License-Identifier: Apache-2.0
// f32 activations x f32 weights: 6 x 64 tiles of FMAs, panels [k][64] instead of row-major weights, so
// one broadcast feeds 64 channels and every output keeps its own ascending chain.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/f32_dot_avx512.h"

namespace octavo {
namespace {

using Kernel = Dense<F32Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return AcceptsF32Product(w, format, CodeType::kF32);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  for (int v = 0; v < F32Dot::kVectors; ++v) {
    std::byte* out = panel + Kernel::kHeader + v * 64;
    TransposeRows(rows.codes.data() + v * 16 * w.k * 4, w.k * 4, [&](int64_t step, __m512i dwords) {
      _mm512_store_si512(out + step * Kernel::kStepBytes, dwords);
    });
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_f32_avx512;
const GemmKernel kGemm_gemm_f32_avx512 = {
    .name = "gemm_f32_avx512",
    .isa = IsaLevel::kAvx512,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
