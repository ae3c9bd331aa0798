// SPDX-License-Identifier: Apache-2.0
// f32 activations x f32 weights: 6 x 64 tiles of FMAs, panels [k][64] instead of row-major weights, so
// one broadcast feeds 64 channels and every output keeps its own ascending chain.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/dense.h"

namespace octavo {
namespace {

struct Dot {
  using Acc = __m512;
  using Weight = __m512;
  using Mode = NoMode;
  static constexpr int kVectors = 4, kVectorLanes = 16, kMaxRows = 6;
  static constexpr int64_t kWeightBytes = 4, kStepK = 1, kPadK = 1, kXBytes = 4;
  static Acc Zero() { return _mm512_setzero_ps(); }
  static Weight LoadWeight(const std::byte* p) { return _mm512_load_ps(p); }
  static __m512 LoadX(const std::byte* p) {
    return _mm512_set1_ps(*reinterpret_cast<const float*>(p));
  }
  static Acc Step(Acc acc, Weight w, __m512 x) { return _mm512_fmadd_ps(x, w, acc); }
  static __m512 Finish(Acc acc, const ActivationView&, int64_t) { return acc; }
};
using Kernel = Dense<Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return format == ActivationFormat::kF32 && w.code == CodeType::kF32 &&
         (w.scales == ScaleLayout::kNone || w.scales == ScaleLayout::kChannel);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  for (int v = 0; v < Dot::kVectors; ++v) {
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
