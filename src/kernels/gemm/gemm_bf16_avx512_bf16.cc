// SPDX-License-Identifier: Apache-2.0
// bf16 activations x bf16 weights with vdpbf16ps: 6 x 64 tiles over panels [k/2][64][2].
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/dense.h"

namespace octavo {
namespace {

struct Dot {
  using Acc = __m512;
  using Weight = __m512bh;
  using Mode = FlushDenormals;  // for the epilogue; vdpbf16ps flushes anyway
  static constexpr int kVectors = 4, kVectorLanes = 16, kMaxRows = 6;
  static constexpr int64_t kWeightBytes = 4, kStepK = 2, kPadK = 8, kXBytes = 2;
  static Acc Zero() { return _mm512_setzero_ps(); }
  static Weight LoadWeight(const std::byte* p) { return (__m512bh)_mm512_load_si512(p); }
  static __m512bh LoadX(const std::byte* p) {
    return (__m512bh)_mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p));
  }
  static Acc Step(Acc acc, Weight w, __m512bh x) { return _mm512_dpbf16_ps(acc, w, x); }
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
  for (int v = 0; v < Dot::kVectors; ++v) {
    std::byte* out = panel + Kernel::kHeader + v * 64;
    int64_t end = 0;
    TransposeRows(rows.codes.data() + v * 16 * w.k * 2, w.k * 2, [&](int64_t step, __m512i dwords) {
      _mm512_store_si512(out + step * Kernel::kStepBytes, dwords);
      end = step + 1;
    });
    for (; end < steps; ++end) {
      _mm512_store_si512(out + end * Kernel::kStepBytes, _mm512_setzero_si512());
    }
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_bf16_avx512_bf16;
const GemmKernel kGemm_gemm_bf16_avx512_bf16 = {
    .name = "gemm_bf16_avx512_bf16",
    .isa = IsaLevel::kAvx512Bf16,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
