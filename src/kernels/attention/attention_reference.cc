// SPDX-License-Identifier: Apache-2.0
// Attention as textbook loops: one query row after the other, one page element at a time. It defines
// the bits that the fast levels give.
#include <math.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/attention/key_offset-inl.h"
#include "kernels/attention/kv_access.h"
#include "kernels/simd/f32x16_reference.h"

#include "kernels/attention/softmax-inl.h"

namespace octavo {
namespace {

// Values as the dot products take them: bf16 unless the pages are f32.
float RoundOperand(KvDType dtype, float x) { return dtype == KvDType::kF32 ? x : RoundToBf16(x); }

// The dot product chain: sums ascend, but of each pair of 16-bit or smaller values the odd element
// comes first, as in VDPBF16PS. `a` and `b` give the factors of element i in [begin, end).
template <typename A, typename B>
float Chain(KvDType dtype, int begin, int end, const A& a, const B& b) {
  float sum = 0.0f;
  if (dtype == KvDType::kF32) {
    for (int i = begin; i < end; ++i) sum = fmaf(a(i), b(i), sum);
    return sum;
  }
  for (int i = begin / 2 * 2; i < end; i += 2) {
    sum = fmaf(a(i + 1), b(i + 1), sum);
    sum = fmaf(a(i), b(i), sum);
  }
  return sum;
}

class ReferenceRow {
 public:
  ReferenceRow(const AttentionTask& task, int row) : task_(task), row_(row) {
    const int dims = task.layout.padded_head_dim();
    for (int d = 0; d < task.layout.head_dim; ++d) {
      q_[d] = RoundOperand(task.layout.dtype, task.Q(row)[d]);
    }
    F32x16 sum = F32x16::Zero();
    for (int d = 0; d < dims; d += 16) sum = sum + F32x16::Load(q_ + d);
    q_sum_ = ReduceAdd(sum);
    if (task.key_offset.bias != nullptr) StartOffsetRow(task, row, uw_);
  }

  // The state of chunk `c`; `o` receives the chunk's output. No visible token: max is -infinity.
  SoftmaxState Chunk(int64_t c, float* o) {
    const KvLayout& layout = task_.layout;
    const int64_t begin = c * 256;
    const int64_t first = std::max(task_.FirstVisible(row_), begin) - begin;
    const int64_t last = std::min(task_.PositionOf(row_), begin + 255) - begin;
    if (first > last) return {};
    const int dims = layout.padded_head_dim();
    for (int64_t j = first; j <= last; ++j) {
      const KvHeadBlock block = Block(begin + j);
      const int slot = static_cast<int>((begin + j) % layout.block_size);
      dots_[j] = Chain(layout.dtype, 0, dims, [&](int d) { return q_[d]; },
                       [&](int d) { return block.K(slot, d); });
      const KvScale k = block.KScale(slot), v = block.VScale(slot);
      scales_.k_scale[j] = k.scale, scales_.k_zero[j] = k.zero;
      scales_.v_scale[j] = v.scale, scales_.v_zero[j] = v.zero;
    }
    if (task_.key_offset.bias != nullptr) OffsetDots(c, first, last);
    const RowSoftmax softmax{.score_scale = task_.score_scale,
                             .softcap_log2 = task_.softcap_log2,
                             .group_begin = static_cast<int>(first) / 16,
                             .group_end = static_cast<int>(last) / 16 + 1,
                             .first = static_cast<int>(first),
                             .last = static_cast<int>(last),
                             .scales = KvHasScales(layout.dtype) ? &scales_ : nullptr,
                             .q_sum = q_sum_,
                             .offsets = task_.key_offset.bias != nullptr ? offsets_ : nullptr};
    const auto round = [&](F32x16 x) {
      return F32x16::Make([&](int i) { return RoundOperand(layout.dtype, x.v[i]); });
    };
    const ChunkResult result = SoftmaxRow<F32x16>(
        softmax, dots_, round, [&](int g, F32x16 p) { round(p).Store(weights_ + g * 16); });
    const int end = static_cast<int>(last) + 1;
    for (int d = 0; d < dims; ++d) {
      const auto value = [&](int j) {
        if (j < first || j > last) return 0.0f;
        return Block(begin + j).V(static_cast<int>((begin + j) % layout.block_size), d);
      };
      o[d] = Chain(layout.dtype, static_cast<int>(first), end, [&](int j) { return weights_[j]; },
                   value) - result.zero_sum;
    }
    return result.state;
  }

 private:
  // What the keys of tokens [first, last] of chunk `c` lack.
  void OffsetDots(int64_t c, int64_t first, int64_t last) {
    const int dims = task_.key_offset.dims();
    float turned[KeyOffsetDims(kAttentionMaxHeadDim)];
    TurnOffsetRow<F32x16>(task_, c, uw_, [&](int dim, F32x16 x) { x.Store(turned + dim); });
    for (int64_t j = first; j <= last; ++j) {
      const auto near = [&](int d) {
        return KvCode(KvDType::kBf16, task_.key_offset.near,
                      KvPlaceOf(KvDType::kBf16, static_cast<int>(j), d, dims));
      };
      offsets_[j] = Chain(KvDType::kBf16, 0, dims, [&](int d) { return RoundToBf16(turned[d]); }, near);
    }
  }

  KvHeadBlock Block(int64_t token) const {
    const auto id = static_cast<size_t>(task_.block_table[token / task_.layout.block_size]);
    return {task_.layout, task_.head + id * task_.block_stride};
  }

  const AttentionTask& task_;
  const int row_;
  float q_[kAttentionMaxHeadDim] = {};
  float q_sum_ = 0;
  float dots_[256] = {};
  float weights_[256] = {};
  float uw_[KeyOffsetDims(kAttentionMaxHeadDim)] = {};
  float offsets_[256] = {};
  ChunkScales scales_ = {};
};

void Attend(const AttentionTask& task) {
  const int dims = task.layout.padded_head_dim();
  for (int r = 0; r < task.row_count; ++r) {
    ReferenceRow row(task, r);
    SoftmaxState state;
    float o[kAttentionMaxHeadDim] = {};
    float* partial = task.partials;
    for (int64_t c = task.chunk_begin; c < task.chunk_end; ++c) {
      float chunk_o[kAttentionMaxHeadDim] = {};
      const SoftmaxState chunk = row.Chunk(c, chunk_o);
      if (partial != nullptr) {
        partial[r] = chunk.max;
        partial[task.row_count + r] = chunk.sum;
        std::copy_n(chunk_o, dims, partial + 2 * task.row_count + r * dims);
        partial += task.partial_floats();
      } else if (chunk.max != kMinusInfinity) {
        const MergeFactors f = MergeChunk<F32x16>(state, chunk);
        for (int d = 0; d < dims; ++d) o[d] = fmaf(chunk_o[d], f.b, o[d] * f.a);
      }
    }
    if (partial == nullptr) FinishRow<F32x16>(task, r, state, o);
  }
}

}  // namespace

extern const AttentionKernel kAttention_attention_reference;
constinit const AttentionKernel kAttention_attention_reference = {
    "attention_reference", IsaLevel::kReference, Attend, MergePartials<F32x16>};

}  // namespace octavo
