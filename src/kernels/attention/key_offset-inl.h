// SPDX-License-Identifier: Apache-2.0
// The query side of key_offset.h, shared by all attention levels. V is an F32x16.
#pragma once

#include "kernels/attention/attention_kernel.h"

namespace octavo {

// (u, w) of one row, [dims] f32 with zeros as padding.
inline void StartOffsetRow(const AttentionTask& task, int row, float* uw) {
  const float* q = task.Q(row);
  const float* b = task.key_offset.bias;
  const int half = task.key_offset.rotary_dim / 2, dims = task.key_offset.dims();
  for (int i = 0; i < dims; ++i) uw[i] = 0.0f;
  for (int i = 0; i < half; ++i) {
    uw[i] = q[i] * b[i] + q[i + half] * b[i + half];
    uw[dims / 2 + i] = q[i + half] * b[i] - q[i] * b[i + half];
  }
}

// Turns (u, w) to the begin of a chunk: store(dim, V) receives the row's operands sixteen at a time.
template <class V, typename Store>
inline void TurnOffsetRow(const AttentionTask& task, int64_t chunk, const float* uw, const Store& store) {
  const int half = task.key_offset.rotary_dim / 2, padded = task.key_offset.dims() / 2;
  const float* cos = task.key_offset.angles + chunk * kAttentionChunk * task.key_offset.rotary_dim;
  for (int i = 0; i < padded; i += 16) {
    const int lanes = half - i < 16 ? half - i : 16;
    const V c = V::LoadPartial(cos + i, lanes), s = V::LoadPartial(cos + half + i, lanes);
    const V u = V::Load(uw + i), w = V::Load(uw + padded + i);
    store(i, Fma(u, c, w * s));
    store(padded + i, Fma(w, c, V::Zero() - u * s));
  }
}

}  // namespace octavo
