// SPDX-License-Identifier: Apache-2.0
// f32 activations x weights that are f32 in registers: what the f32 and f16 kernels of this level share.
// Include after simd_avx512.h.
#pragma once

#include "kernels/gemm/dense.h"

namespace octavo {
namespace {

struct F32Dot {
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

// Dense weights of one code type, with or without a scale per channel.
inline bool AcceptsF32Product(const WeightSpec& w, ActivationFormat format, CodeType code) {
  return format == ActivationFormat::kF32 && w.code == code &&
         (w.scales == ScaleLayout::kNone || w.scales == ScaleLayout::kChannel);
}

}  // namespace
}  // namespace octavo
