// SPDX-License-Identifier: Apache-2.0
// Feed-forward blocks: gated (SwiGLU, GeGLU) and plain (fc1, activation, fc2).
#pragma once

#include <cstdint>
#include <string_view>

#include "layers/feed_forward.h"
#include "layers/linear.h"
#include "layers/step.h"

namespace octavo {

enum class ActivationFunction : uint8_t { kSilu, kGeluTanh, kGeluErf, kRelu };

// From config.json's hidden_act: silu/swish, gelu, gelu_new, gelu_pytorch_tanh, relu...
Result<ActivationFunction> ActivationFunctionFromName(std::string_view name);

class Mlp : public FeedForward {
 public:
  // Gated: `up` is the fused [gate; up], act(gate) * up feeds `down`. Plain: act(up) feeds `down`.
  Mlp(bool gated, ActivationFunction act, Linear up, Linear down)
      : gated_(gated), act_(act), up_(std::move(up)), down_(std::move(down)) {}

  Status Reserve(Workspace& ws, int num_threads) const override;
  std::span<const ActivationSpec> inputs() const override { return up_.inputs(); }
  void Forward(Step& step, ArenaMatrix y, bool accumulate) const override;
  std::vector<const Linear*> linears() const override { return {&up_, &down_}; }

  // Forward for `rows` rows that are not the whole batch (an expert's share).
  void ForwardRows(Step& step, int64_t rows, ArenaMatrix y, bool accumulate) const;

  int64_t input_size() const { return up_.k(); }

 private:
  bool gated_;
  ActivationFunction act_;
  Linear up_;
  Linear down_;
};

}  // namespace octavo
