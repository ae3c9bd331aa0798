// SPDX-License-Identifier: Apache-2.0
// f32 activations x f32 weights with 256-bit FMAs: 6 x 16 tiles over panels [k][16].
#include "kernels/gemm/simd_avx2.h"
//
#include "kernels/gemm/dense.h"

namespace octavo {
namespace {

struct Dot {
  using Acc = __m256;
  using Weight = __m256;
  using Mode = NoMode;
  static constexpr int kVectors = 2, kVectorLanes = 8, kMaxRows = 6;
  static constexpr int64_t kWeightBytes = 4, kStepK = 1, kPadK = 1, kXBytes = 4;
  static Acc Zero() { return _mm256_setzero_ps(); }
  static Weight LoadWeight(const std::byte* p) {
    return _mm256_load_ps(reinterpret_cast<const float*>(p));
  }
  static __m256 LoadX(const std::byte* p) {
    return _mm256_broadcast_ss(reinterpret_cast<const float*>(p));
  }
  static Acc Step(Acc acc, Weight w, __m256 x) { return _mm256_fmadd_ps(x, w, acc); }
  static __m256 Finish(Acc acc, const ActivationView&, int64_t) { return acc; }
};
using Kernel = Dense<Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return format == ActivationFormat::kF32 && w.code == CodeType::kF32 &&
         (w.scales == ScaleLayout::kNone || w.scales == ScaleLayout::kChannel);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  PackDwords(rows.codes.data(), w.k * 4, Kernel::kChannels, Kernel::Steps(w), panel + Kernel::kHeader);
}

}  // namespace

extern const GemmKernel kGemm_gemm_f32_avx2;
const GemmKernel kGemm_gemm_f32_avx2 = {
    .name = "gemm_f32_avx2",
    .isa = IsaLevel::kAvx2,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
