// SPDX-License-Identifier: Apache-2.0
// The loops of the outlier product over sixteen f32 lanes: sums of up to 64 channels stay in registers over
// all terms. Include after the simd/f32x16_<level>.h of one ISA level.
#pragma once

#include <cstdint>

#include "kernels/gemm/outlier_product.h"

namespace octavo {
namespace {

template <int kVectors>
[[gnu::always_inline]] inline void Chain(const float* columns, int64_t stride, const OutlierTerm* terms,
                                         int64_t count, float* sum) {
  F32x16 acc[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[v] = F32x16::Load(sum + v * 16);
  for (int64_t i = 0; i < count; ++i) {
    const F32x16 x = F32x16::Set1(__builtin_bit_cast(float, uint32_t{terms[i].value} << 16));
    const float* w = columns + terms[i].slot * stride;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[v] = Fma(x, F32x16::Load(w + v * 16), acc[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) acc[v].Store(sum + v * 16);
}

void Accumulate(const float* columns, int channels, const OutlierTerm* terms, int64_t count, float* sum) {
  int c = 0;
  for (; c + 64 <= channels; c += 64) Chain<4>(columns + c, channels, terms, count, sum + c);
  for (; c + 32 <= channels; c += 32) Chain<2>(columns + c, channels, terms, count, sum + c);
  for (; c < channels; c += 16) Chain<1>(columns + c, channels, terms, count, sum + c);
}

void Add(const float* sum, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) (F32x16::Load(out + i) + F32x16::Load(sum + i)).Store(out + i);
  const int64_t left = count - i;
  if (left > 0) (F32x16::LoadPartial(out + i, left) + F32x16::LoadPartial(sum + i, left)).StorePartial(out + i, left);
}

}  // namespace
}  // namespace octavo
