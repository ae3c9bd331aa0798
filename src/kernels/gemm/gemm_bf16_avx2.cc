// SPDX-License-Identifier: Apache-2.0
// bf16 (or fp8) activations x bf16 weights without vdpbf16ps: two f32 FMAs per pair, odd column first,
// with denormals flushed, give the same bits. 4 x 16 tiles over panels [k/2][16][2].
#include "kernels/gemm/simd_avx2.h"
//
#include "kernels/gemm/dense.h"

namespace octavo {
namespace {

struct Pair {
  __m256 even, odd;
};

struct Dot {
  using Acc = __m256;
  using Weight = Pair;
  using Mode = FlushDenormals;
  static constexpr int kVectors = 2, kVectorLanes = 8, kMaxRows = 4;
  static constexpr int64_t kWeightBytes = 4, kStepK = 2, kPadK = 8, kXBytes = 2;
  static Acc Zero() { return _mm256_setzero_ps(); }
  static Pair Split(__m256i v) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(v, 16)),
            _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(-65536)))};
  }
  static Weight LoadWeight(const std::byte* p) {
    return Split(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Pair LoadX(const std::byte* p) {
    return Split(_mm256_set1_epi32(*reinterpret_cast<const int32_t*>(p)));
  }
  static Acc Step(Acc acc, const Weight& w, const Pair& x) {
    return _mm256_fmadd_ps(x.even, w.even, _mm256_fmadd_ps(x.odd, w.odd, acc));
  }
  static __m256 Finish(Acc acc, const ActivationView&, int64_t) { return acc; }
};
using Kernel = Dense<Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return (format == ActivationFormat::kBf16 || format == ActivationFormat::kFp8) &&
         w.code == CodeType::kBf16 &&
         (w.scales == ScaleLayout::kNone || w.scales == ScaleLayout::kChannel);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  PackDwords(rows.codes.data(), w.k * 2, Kernel::kChannels, Kernel::Steps(w), panel + Kernel::kHeader);
}

}  // namespace

extern const GemmKernel kGemm_gemm_bf16_avx2;
const GemmKernel kGemm_gemm_bf16_avx2 = {
    .name = "gemm_bf16_avx2",
    .isa = IsaLevel::kAvx2,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
