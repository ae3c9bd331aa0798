// SPDX-License-Identifier: Apache-2.0
// Self-attention of a decoder layer: fused q/k/v, optional rotary embedding, paged KV, output
// projection added to the residual stream.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/rope_table.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/step.h"

namespace octavo {

struct AttentionConfig {
  int layer = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  float softmax_scale = 0;
  float softcap = 0;
  int64_t window = 0;
  float k_scale = 1.0f;  // of an FP8 KV cache
  float v_scale = 1.0f;
  // What keys have in common beside their bias, [num_kv_heads * head_dim] before rotation; or empty.
  std::vector<float> key_center = {};

  KvLayerSpec kv() const {
    return {.num_kv_heads = num_kv_heads,
            .head_dim = head_dim,
            .window = window,
            .k_scale = k_scale,
            .v_scale = v_scale};
  }
};

class SelfAttention {
 public:
  // `qkv` rows are [q heads; k heads; v heads]. `rope` is shared by the layers and may be null; the
  // model extends it to the step's positions before the first layer.
  SelfAttention(const AttentionConfig& config, std::shared_ptr<RopeTable> rope, Linear qkv,
                Linear out);

  Status Reserve(Workspace& ws) const;

  // Reads the activations in step.ws (produced for qkv().inputs()) and writes or adds the result to
  // `y`, [num_tokens, hidden_size].
  void Forward(Step& step, ArenaMatrix y, bool accumulate) const;

  const AttentionConfig& config() const { return config_; }
  const Linear& qkv() const { return qkv_; }
  const Linear& out() const { return out_; }

 private:
  // Rotates q and k in place; of k the offset is taken away first if `without_offset`.
  void Rotate(Step& step, ArenaMatrix qkv, bool without_offset) const;

  KeyOffset Offset() const;

  AttentionConfig config_;
  std::shared_ptr<RopeTable> rope_;
  Linear qkv_;
  Linear out_;
  std::vector<float> key_offset_;  // [num_kv_heads * head_dim], what int8 and int4 pages lack; or empty
};

}  // namespace octavo
