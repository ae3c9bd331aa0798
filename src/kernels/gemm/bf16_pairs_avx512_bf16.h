// SPDX-License-Identifier: Apache-2.0
// Products of bf16 pairs by vdpbf16ps.
#pragma once

#include "kernels/gemm/simd_avx512.h"

namespace octavo {
namespace {

struct NativePairs {
  using Pair = __m512i;
  [[gnu::always_inline]] static Pair Split(__m512i v) { return v; }
  [[gnu::always_inline]] static __m512 Add(__m512 acc, Pair w, Pair x) {
    return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)x);
  }
};

}  // namespace
}  // namespace octavo
