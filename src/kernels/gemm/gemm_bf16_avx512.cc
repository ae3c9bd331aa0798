// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x bf16 weights on AVX-512 machines without vdpbf16ps: two f32 FMAs per
// pair, odd column first, with denormals flushed, give the same bits. 6 x 32 tiles.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/bf16_pairs_avx512.h"
#include "kernels/gemm/dense.h"

namespace octavo {
namespace {

struct Dot {
  using Acc = __m512;
  using Weight = FmaPairs::Pair;
  using Mode = FlushDenormals;
  static constexpr int kVectors = 2, kVectorLanes = 16, kMaxRows = 6;
  static constexpr int64_t kWeightBytes = 4, kStepK = 2, kPadK = 8, kXBytes = 2;
  static Acc Zero() { return _mm512_setzero_ps(); }
  static Weight LoadWeight(const std::byte* p) { return FmaPairs::Split(_mm512_load_si512(p)); }
  static Weight LoadX(const std::byte* p) {
    return FmaPairs::Split(_mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p)));
  }
  static Acc Step(Acc acc, const Weight& w, const Weight& x) { return FmaPairs::Add(acc, w, x); }
  static __m512 Finish(Acc acc, const ActivationView&, int64_t) { return acc; }
};
using Kernel = Dense<Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return (format == ActivationFormat::kBf16 || format == ActivationFormat::kFp8) &&
         w.code == CodeType::kBf16 &&
         (w.scales == ScaleLayout::kNone || w.scales == ScaleLayout::kChannel);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  const int64_t steps = Kernel::Steps(w);
  __builtin_memset(panel + Kernel::kHeader, 0, static_cast<size_t>(steps * Kernel::kStepBytes));
  for (int v = 0; v < Dot::kVectors; ++v) {
    std::byte* out = panel + Kernel::kHeader + v * 64;
    TransposeRows(rows.codes.data() + v * 16 * w.k * 2, w.k * 2, [&](int64_t step, __m512i dwords) {
      _mm512_store_si512(out + step * Kernel::kStepBytes, dwords);
    });
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_bf16_avx512;
const GemmKernel kGemm_gemm_bf16_avx512 = {
    .name = "gemm_bf16_avx512",
    .isa = IsaLevel::kAvx512,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
