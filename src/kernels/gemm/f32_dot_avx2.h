// SPDX-License-Identifier: Apache-2.0
// f32 activations x weights that are f32 in registers: what the f32 and f16 kernels of this level share.
// Include after simd_avx2.h.
#pragma once

#include "kernels/gemm/dense.h"

namespace octavo {
namespace {

struct F32Dot {
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

// Dense weights of one code type, with or without a scale per channel.
inline bool AcceptsF32Product(const WeightSpec& w, ActivationFormat format, CodeType code) {
  return format == ActivationFormat::kF32 && w.code == code &&
         (w.scales == ScaleLayout::kNone || w.scales == ScaleLayout::kChannel);
}

}  // namespace
}  // namespace octavo
