// SPDX-License-Identifier: Apache-2.0
// f32 activations x f16 weights, which do not fit bf16: widened on load, then as gemm_f32_avx512.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/f32_dot_avx512.h"

namespace octavo {
namespace {

struct Dot : F32Dot {
  static constexpr int64_t kWeightBytes = 2;
  static Weight LoadWeight(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  }
};
using Kernel = Dense<Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return AcceptsF32Product(w, format, CodeType::kF16);
}

void StoreHalves(__m512i dwords, std::byte* out) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(dwords));
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  // A transposed dword holds two columns of its channel; an odd K has one more than the panel.
  const __m512i low = _mm512_set1_epi32(0xffff);
  for (int v = 0; v < Dot::kVectors; ++v) {
    std::byte* out = panel + Kernel::kHeader + v * 32;
    TransposeRows(rows.codes.data() + v * 16 * w.k * 2, w.k * 2, [&](int64_t pair, __m512i dwords) {
      std::byte* even = out + 2 * pair * Kernel::kStepBytes;
      StoreHalves(_mm512_and_si512(dwords, low), even);
      if (2 * pair + 1 < w.k) StoreHalves(_mm512_srli_epi32(dwords, 16), even + Kernel::kStepBytes);
    });
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_f16_avx512;
const GemmKernel kGemm_gemm_f16_avx512 = {
    .name = "gemm_f16_avx512",
    .isa = IsaLevel::kAvx512,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
