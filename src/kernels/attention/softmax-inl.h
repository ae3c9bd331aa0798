// SPDX-License-Identifier: Apache-2.0
// The softmax over chunks that all attention levels share. V is an F32x16 (simd/f32x16_*.h).
//
// Per row and chunk of 256 tokens, with t = score in log2 units (masked tokens: -infinity):
//   m = max t;  p = 2^(t - m);  l = sum of p in 16 lanes (lane = token mod 16, ascending), folded;
//   o = sum of round(p) * v.
// Chunks are merged in ascending order, M, L, O starting at (-infinity, 0, 0):
//   N = max(M, m);  a = 2^(M - N);  b = 2^(m - N);  L = fma(l, b, L * a);  O = fma(o, b, O * a);  M = N.
// A chunk without a visible token is left out. The result is O * (1 / L) * out_scale.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/attention/attention_kernel.h"
#include "kernels/simd/math-inl.h"

namespace octavo {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Running or chunk-local maximum and sum of one row.
struct SoftmaxState {
  float max = kMinusInfinity;
  float sum = 0.0f;
};

// Factors that bring the old output (`a`) and the chunk's output (`b`) to the new maximum.
struct MergeFactors {
  float a = 0.0f;
  float b = 1.0f;
};

// Adds a chunk to the running state. Requires chunk.max > -infinity.
template <class V>
inline MergeFactors MergeChunk(SoftmaxState& state, SoftmaxState chunk) {
  const float max = state.max > chunk.max ? state.max : chunk.max;
  float powers[16] = {state.max - max, chunk.max - max};
  Exp2(V::Load(powers)).Store(powers);
  const MergeFactors f{powers[0], powers[1]};
  Fma(V::Set1(chunk.sum), V::Set1(f.b), V::Set1(state.sum) * V::Set1(f.a)).Store(powers);
  state = {max, powers[0]};
  return f;
}

// O = o * b + O * a for sixteen dims.
template <class V>
inline V MergeOutput(V old_output, V chunk_output, MergeFactors f) {
  return Fma(chunk_output, V::Set1(f.b), old_output * V::Set1(f.a));
}

// Per-token scales and zeros of int8 and int4 pages as f32, [256] for the tokens of a chunk.
struct ChunkScales {
  float k_scale[256], k_zero[256], v_scale[256], v_zero[256];
};

// What turns one row's dot products into weights.
struct RowSoftmax {
  float score_scale = 0;
  float softcap_log2 = 0;
  int group_begin = 0, group_end = 0;  // groups of sixteen tokens to fill, within the chunk
  int first = 0, last = 0;             // the row's visible tokens within the chunk, inclusive
  const ChunkScales* scales = nullptr;  // null: the type has none
  float q_sum = 0;                      // sum of the rounded q, for the zeros of K
  const float* offsets = nullptr;       // [256] q . (what the keys lack), or null
};

// The result of RowSoftmax: the chunk's state, and sum of weight * zero, to be taken from o.
struct ChunkResult {
  SoftmaxState state;
  float zero_sum = 0;
};

// Replaces the sixteen dot products of a group by scores in log2 units.
template <class V>
inline V ScoreGroup(const RowSoftmax& row, V dots, int group, V lane) {
  if (row.scales != nullptr) {
    const V zero = V::Load(row.scales->k_zero + group * 16);
    dots = Fma(V::Zero() - zero, V::Set1(row.q_sum), dots) * V::Load(row.scales->k_scale + group * 16);
    if (row.offsets != nullptr) dots = dots + V::Load(row.offsets + group * 16);
  }
  V t = dots * V::Set1(row.score_scale);
  if (row.softcap_log2 > 0) t = V::Set1(row.softcap_log2) * Tanh(t);
  if (group * 16 >= row.first && group * 16 + 15 <= row.last) return t;
  const V token = lane + V::Set1(static_cast<float>(group * 16));
  t = IfLess(token, V::Set1(static_cast<float>(row.first)), V::Set1(kMinusInfinity), t);
  return IfLess(V::Set1(static_cast<float>(row.last)), token, V::Set1(kMinusInfinity), t);
}

// Turns dot products [256] into weights: store(group, V) receives them for each group in the range,
// unrounded but with V's scales applied. `round` gives the value that the kernel multiplies with.
// Overwrites `dots`.
template <class V, typename Round, typename Store>
inline ChunkResult SoftmaxRow(const RowSoftmax& row, float* dots, const Round& round,
                              const Store& store) {
  alignas(64) static constexpr float kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const V lane = V::Load(kLane);
  V max = V::Set1(kMinusInfinity);
  for (int g = row.group_begin; g < row.group_end; ++g) {
    const V t = ScoreGroup(row, V::Load(dots + g * 16), g, lane);
    t.Store(dots + g * 16);
    max = Max(max, t);
  }
  ChunkResult result;
  result.state.max = ReduceMax(max);
  if (result.state.max == kMinusInfinity) {
    for (int g = row.group_begin; g < row.group_end; ++g) store(g, V::Zero());
    return result;
  }
  const V center = V::Set1(result.state.max);
  V sum = V::Zero(), zero_sum = V::Zero();
  for (int g = row.group_begin; g < row.group_end; ++g) {
    const V p = Exp2(V::Load(dots + g * 16) - center);
    sum = sum + p;
    if (row.scales == nullptr) {
      store(g, p);
      continue;
    }
    const V weight = p * V::Load(row.scales->v_scale + g * 16);
    zero_sum = Fma(round(weight), V::Load(row.scales->v_zero + g * 16), zero_sum);
    store(g, weight);
  }
  result.state.sum = ReduceAdd(sum);
  result.zero_sum = ReduceAdd(zero_sum);
  return result;
}

// Writes the finished row: out = o * (1 / sum) * out_scale.
template <class V>
inline void FinishRow(const AttentionTask& task, int row, SoftmaxState state, const float* o) {
  const V factor = V::Set1(1.0f / state.sum * task.out_scale);
  float* out = task.Out(row);
  for (int d = 0; d < task.layout.head_dim; d += 16) {
    const int lanes = task.layout.head_dim - d < 16 ? task.layout.head_dim - d : 16;
    (V::Load(o + d) * factor).StorePartial(out + d, lanes);
  }
}

// Merges partial results: AttentionKernel::merge.
template <class V>
void MergePartials(const AttentionTask& task) {
  const int dims = task.layout.padded_head_dim();
  alignas(64) float o[kAttentionMaxHeadDim];
  for (int row = 0; row < task.row_count; ++row) {
    for (int d = 0; d < dims; d += 16) V::Zero().Store(o + d);
    SoftmaxState state;
    const float* partial = task.partials;
    for (int64_t c = task.chunk_begin; c < task.chunk_end; ++c, partial += task.partial_floats()) {
      const SoftmaxState chunk{partial[row], partial[task.row_count + row]};
      if (chunk.max == kMinusInfinity) continue;
      const MergeFactors f = MergeChunk<V>(state, chunk);
      const float* chunk_o = partial + 2 * task.row_count + row * dims;
      for (int d = 0; d < dims; d += 16) {
        MergeOutput(V::Load(o + d), V::Load(chunk_o + d), f).Store(o + d);
      }
    }
    FinishRow<V>(task, row, state, o);
  }
}

}  // namespace octavo
