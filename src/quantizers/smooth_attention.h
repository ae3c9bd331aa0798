// SPDX-License-Identifier: Apache-2.0
// SmoothAttention: outlier channels of the keys move into the queries, so that a 4-bit KV cache keeps
// the other channels' bits.
//
// Source: QServe, arXiv:2405.04532, section 4.2, equation 8: lambda_i = max|K_i|^alpha, K / lambda,
// Q * lambda. The two channels that RoPE turns together share lambda, and so do all query heads of a
// head of keys. Folded into the rows and biases of q_proj and k_proj.
// Differs: a pair's magnitude is the length of its two channels before RoPE, which no position changes,
// and without the keys' center, which 8- and 4-bit pages do not hold (key_offset.h); lambda is rounded
// to a power of two, so that biases (hundreds of times the rest in Qwen2's keys) are folded without
// rounding.
#pragma once

#include <cstdint>
#include <vector>

#include "models/model_config.h"
#include "octavo/status.h"
#include "quantizers/layer_modules.h"
#include "quantizers/layer_transform.h"
#include "quantizers/matrix_product.h"

namespace octavo {

// What the keys of a layer are like before their rotation, per channel [num_kv_heads * head_dim].
struct KeyStatistics {
  // What tokens share beside k_proj's bias: the mean of W x, or zeros where there is a bias, which is
  // the better center then (it is not measured).
  std::vector<float> center;
  // Upper bound of |W x - center|, of both channels of a RoPE pair together; equal within a pair.
  std::vector<float> magnitude;
};

// Follows the keys over many batches of k_proj's inputs.
class KeyObserver {
 public:
  static Result<KeyObserver> Create(const Checkpoint& checkpoint, const LayerModule& k_proj,
                                    const ModelConfig& config, MatrixProduct& product);

  // `x`: inputs of k_proj, rows in kF32 or kBf16.
  Status Add(const ActivationView& x, MatrixProduct& product);

  // Of all tokens so far; `centered` false: with a center of zeros.
  KeyStatistics Statistics(bool centered) const;

 private:
  KeyObserver() = default;

  int64_t head_dim_ = 0;
  int64_t rotary_dim_ = 0;
  PackedWeight weight_;
  bool has_bias_ = false;
  int64_t num_tokens_ = 0;
  std::vector<double> sum_;
  std::vector<float> min_, max_;
  std::vector<float> rows_;
  std::vector<float> keys_;
};

// lambda per channel of the keys; channels that never leave their center keep 1.
std::vector<float> SmoothAttentionScales(const std::vector<float>& magnitude, double strength);

// Divides the keys' channels by `scales` and multiplies the queries'. Both must be quantized modules.
Status FoldSmoothAttention(const Checkpoint& checkpoint, const LayerModule& q_proj,
                           const LayerModule& k_proj, const ModelConfig& config,
                           const std::vector<float>& scales, LayerTransform& transform);

}  // namespace octavo
