// SPDX-License-Identifier: Apache-2.0
// q/k/v projection, rotation, KV write, attention, output projection.
#include "layers/attention.h"

#include <algorithm>

#include "kernels/elementwise/elementwise.h"

namespace octavo {
namespace {

// The bias of the k rows of a fused projection, and their center; empty if both are zero.
std::vector<float> KeyOffsetOf(const AttentionConfig& config, std::span<const float> bias) {
  std::vector<float> offset = config.key_center;
  offset.resize(static_cast<size_t>(config.num_kv_heads * config.head_dim));
  const auto q_size = static_cast<size_t>(config.num_heads * config.head_dim);
  for (size_t i = 0; i < offset.size() && !bias.empty(); ++i) offset[i] += bias[q_size + i];
  if (std::all_of(offset.begin(), offset.end(), [](float x) { return x == 0; })) return {};
  return offset;
}

}  // namespace

SelfAttention::SelfAttention(const AttentionConfig& config, std::shared_ptr<RopeTable> rope, Linear qkv,
                             Linear out)
    : config_(config), rope_(std::move(rope)), qkv_(std::move(qkv)), out_(std::move(out)) {
  // A soft cap is not linear: what all scores of a row share would change the weights.
  if (config_.softcap == 0) key_offset_ = KeyOffsetOf(config_, qkv_.bias());
}

Status SelfAttention::Reserve(Workspace& ws) const {
  const int64_t attention_size = int64_t{config_.num_heads} * config_.head_dim;
  OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kProjection, qkv_.n()));
  OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kAttention, attention_size));
  OCTAVO_RETURN_IF_ERROR(
      ws.activations().Reserve(qkv_.inputs(), ws.max_tokens(), qkv_.k()));
  return ws.activations().Reserve(out_.inputs(), ws.max_tokens(), out_.k());
}

void SelfAttention::Rotate(Step& step, ArenaMatrix qkv, bool without_offset) const {
  const int rotated_heads = config_.num_heads + config_.num_kv_heads;  // q heads, then k heads
  const int64_t k_begin = int64_t{config_.num_heads} * config_.head_dim;
  const ElementwiseOps& ops = ElementwiseOpsFor(step.isa);
  step.pool.ParallelFor(step.batch.num_tokens(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t position = step.batch.positions[static_cast<size_t>(t)];
      float* k = qkv.Row(t) + k_begin;
      for (size_t i = 0; i < key_offset_.size() && without_offset; ++i) k[i] -= key_offset_[i];
      if (rope_ == nullptr) continue;
      ops.rope(qkv.Row(t), rotated_heads, config_.head_dim, rope_->rotary_dim(),
               rope_->Cos(position), rope_->Sin(position));
    }
  });
}

KeyOffset SelfAttention::Offset() const {
  return {.bias = key_offset_.data(),
          .angles = rope_->Cos(0),
          .near = rope_->near_angles(),
          .rotary_dim = rope_->rotary_dim()};
}

void SelfAttention::Forward(Step& step, ArenaMatrix y, bool accumulate) const {
  const int64_t q_size = int64_t{config_.num_heads} * config_.head_dim;
  const int64_t kv_size = int64_t{config_.num_kv_heads} * config_.head_dim;
  const ArenaMatrix qkv = step.ws.Matrix(Workspace::Role::kProjection, qkv_.n());
  qkv_.Forward(step, step.ws.activations(), qkv, /*accumulate=*/false);
  const KvLayout& layout = step.kv.LayoutOf(config_.layer);
  const bool without_offset = !key_offset_.empty() && KvHasScales(layout.dtype);
  if (rope_ != nullptr || without_offset) Rotate(step, qkv, without_offset);

  if (step.kv_tap != nullptr) {
    (*step.kv_tap)({.k = qkv.data + q_size,
                    .v = qkv.data + q_size + kv_size,
                    .cols = kv_size,
                    .row_stride = qkv.row_stride});
  }

  const KvPages pages = step.kv.PagesOf(config_.layer);
  const auto& sequences = step.batch.sequences[static_cast<size_t>(step.kv.GroupOf(config_.layer))];
  WriteKv(layout, pages, sequences, qkv.data + q_size, qkv.data + q_size + kv_size, qkv.row_stride,
          step.isa, step.pool);
  const ArenaMatrix attended = step.ws.Matrix(Workspace::Role::kAttention, q_size);
  Attend(layout, pages,
         {.num_heads = config_.num_heads,
          .softmax_scale = config_.softmax_scale,
          .softcap = config_.softcap,
          .window = config_.window,
          .key_offset = without_offset && rope_ != nullptr ? Offset() : KeyOffset{}},
         {.sequences = sequences,
          .q = qkv.data,
          .q_stride = qkv.row_stride,
          .out = attended.data,
          .out_stride = attended.row_stride},
         step.isa, step.pool);
  ProduceActivations(step, attended, step.batch.num_tokens(), q_size, out_.inputs());
  out_.Forward(step, step.ws.activations(), y, accumulate);
}

}  // namespace octavo
