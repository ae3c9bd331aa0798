// SPDX-License-Identifier: Apache-2.0
// f32 activations x f16 weights, widened on load, with 256-bit FMAs: 6 x 16 tiles over panels [k][16].
#include "kernels/gemm/simd_avx2.h"
//
#include "kernels/gemm/f32_dot_avx2.h"

namespace octavo {
namespace {

struct Dot : F32Dot {
  static constexpr int64_t kWeightBytes = 2;
  static Weight LoadWeight(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
};
using Kernel = Dense<Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return AcceptsF32Product(w, format, CodeType::kF16);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  std::byte* out = panel + Kernel::kHeader;
  for (int64_t k = 0; k < w.k; ++k) {
    for (int64_t c = 0; c < Kernel::kChannels; ++c, out += 2) {
      __builtin_memcpy(out, rows.codes.data() + (c * w.k + k) * 2, 2);
    }
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_f16_avx2;
const GemmKernel kGemm_gemm_f16_avx2 = {
    .name = "gemm_f16_avx2",
    .isa = IsaLevel::kAvx2,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
