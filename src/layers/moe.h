// SPDX-License-Identifier: Apache-2.0
// Sparse mixture of experts (Mixtral, arXiv:2401.04088, section 2.1): every token is sent to the
// top_k experts its router likes best; their outputs are added, weighted by renormalized softmax.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layers/feed_forward.h"
#include "layers/mlp.h"

namespace octavo {

class MoeMlp : public FeedForward {
 public:
  // `router` is [num_experts, hidden_size]; 0 < top_k <= experts.size().
  MoeMlp(int top_k, Linear router, std::vector<Mlp> experts)
      : top_k_(top_k), router_(std::move(router)), experts_(std::move(experts)) {}

  Status Reserve(Workspace& ws, int num_threads) const override;
  std::span<const ActivationSpec> inputs() const override { return {&kInput, 1}; }

  // Experts run one after the other in ascending order over the tokens sent to them, so a token's sum
  // has a fixed order and its bits do not depend on its batch.
  void Forward(Step& step, ArenaMatrix y, bool accumulate) const override;

  std::vector<const Linear*> linears() const override;

 private:
  static constexpr ActivationSpec kInput{ActivationFormat::kF32, 0};

  struct Assignment {
    int64_t row;
    float weight;
  };
  // Tokens of each expert, ascending, from router logits [rows, num_experts].
  std::vector<std::vector<Assignment>> Route(ArenaMatrix logits, int64_t rows) const;

  int top_k_;
  Linear router_;
  std::vector<Mlp> experts_;
};

}  // namespace octavo
