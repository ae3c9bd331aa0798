// SPDX-License-Identifier: Apache-2.0
// Products of bf16 pairs without vdpbf16ps: two f32 FMAs, odd column first. With denormals flushed
// (FlushDenormals) they give the same bits.
#pragma once

#include "kernels/gemm/simd_avx512.h"

namespace octavo {
namespace {

struct FmaPairs {
  struct Pair {
    __m512 even, odd;
  };
  [[gnu::always_inline]] static Pair Split(__m512i v) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(v, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(-65536)))};
  }
  [[gnu::always_inline]] static __m512 Add(__m512 acc, const Pair& w, const Pair& x) {
    return _mm512_fmadd_ps(x.even, w.even, _mm512_fmadd_ps(x.odd, w.odd, acc));
  }
};

}  // namespace
}  // namespace octavo
