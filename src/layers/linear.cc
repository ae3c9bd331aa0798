// SPDX-License-Identifier: Apache-2.0
// Dispatches a linear layer's parts to their kernels.
#include "layers/linear.h"

namespace octavo {

void Linear::Forward(Step& step, const ActivationSet& x, ArenaMatrix out, bool accumulate) const {
  const GemmOutput y{.out = out.data,
                     .row_stride = out.row_stride,
                     .bias = bias_.empty() ? nullptr : bias_.data(),
                     .accumulate = accumulate};
  for (const ActivationSpec& spec : weight_.activations()) {
    const ActivationView& view = x.View(spec);
    if (step.tap != nullptr) (*step.tap)(slot_, view);
    weight_.Multiply(view, y, step.pool);
  }
}

void Linear::Observe(Step& step, const ActivationSet& x) const {
  if (step.tap == nullptr) return;
  for (const ActivationSpec& spec : weight_.activations()) (*step.tap)(slot_, x.View(spec));
}

}  // namespace octavo
