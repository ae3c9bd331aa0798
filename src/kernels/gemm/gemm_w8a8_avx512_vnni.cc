// SPDX-License-Identifier: Apache-2.0
// int8 activations x int8 weights per channel with vpdpbusd: 6 x 64 tiles over panels [k/4][64][4].
//
// Weights are stored as w + 128, unsigned as the instruction wants them; 128 * (row sum) is taken out
// once at the end. int32 holds any K up to 65793.
#include "kernels/gemm/simd_avx512.h"
//
#include "kernels/gemm/dense.h"

namespace octavo {
namespace {

struct Dot {
  using Acc = __m512i;
  using Weight = __m512i;
  using Mode = NoMode;
  static constexpr int kVectors = 4, kVectorLanes = 16, kMaxRows = 6;
  static constexpr int64_t kWeightBytes = 4, kStepK = 4, kPadK = 4, kXBytes = 1;
  static Acc Zero() { return _mm512_setzero_si512(); }
  static Weight LoadWeight(const std::byte* p) { return _mm512_load_si512(p); }
  static __m512i LoadX(const std::byte* p) {
    return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p));
  }
  static Acc Step(Acc acc, Weight w, __m512i x) { return _mm512_dpbusd_epi32(acc, w, x); }
  static __m512 Finish(Acc acc, const ActivationView& x, int64_t row) {
    const __m512i offset = _mm512_set1_epi32(128 * x.row_sums[row]);
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(acc, offset));
  }
};
using Kernel = Dense<Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return format == ActivationFormat::kInt8 && w.code == CodeType::kInt && w.k <= 65792 &&
         (w.scales == ScaleLayout::kNone || w.scales == ScaleLayout::kChannel);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  const __m512i flip = _mm512_set1_epi8(-128);
  for (int v = 0; v < Dot::kVectors; ++v) {
    std::byte* out = panel + Kernel::kHeader + v * 64;
    TransposeRows(rows.codes.data() + v * 16 * w.k, w.k, [&](int64_t step, __m512i dwords) {
      _mm512_store_si512(out + step * Kernel::kStepBytes, _mm512_xor_si512(dwords, flip));
    });
  }
}

void Columns(const WeightSpec&, const std::byte* panel, const uint16_t* columns, int64_t count, float* out) {
  const __m512i flip = _mm512_set1_epi8(-128);
  for (int64_t i = 0; i < count; ++i) {
    const std::byte* quad = panel + Kernel::kHeader + columns[i] / 4 * Kernel::kStepBytes;
    for (int v = 0; v < Dot::kVectors; ++v, out += 16) {
      const __m512 scale = _mm512_loadu_ps(reinterpret_cast<const float*>(panel) + v * 16);
      const __m512i codes = _mm512_xor_si512(_mm512_load_si512(quad + v * 64), flip);
      _mm512_storeu_ps(out, ScaledByte(codes, columns[i], scale));
    }
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_w8a8_avx512_vnni;
const GemmKernel kGemm_gemm_w8a8_avx512_vnni = {
    .name = "gemm_w8a8_avx512_vnni",
    .isa = IsaLevel::kAvx512Vnni,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
    .columns = Columns,
};

}  // namespace octavo
