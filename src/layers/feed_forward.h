// SPDX-License-Identifier: Apache-2.0
// The feed-forward half of a decoder layer, dense or mixture of experts, behind one interface.
#pragma once

#include <span>
#include <vector>

#include "layers/linear.h"
#include "layers/step.h"

namespace octavo {

class FeedForward {
 public:
  virtual ~FeedForward() = default;

  virtual Status Reserve(Workspace& ws, int num_threads) const = 0;

  // The formats in which the preceding norm has to produce the activations.
  virtual std::span<const ActivationSpec> inputs() const = 0;

  // Reads the activations in step.ws and writes or adds the result to `y`, [num_tokens, hidden_size].
  virtual void Forward(Step& step, ArenaMatrix y, bool accumulate) const = 0;

  // In execution order.
  virtual std::vector<const Linear*> linears() const = 0;
};

}  // namespace octavo
