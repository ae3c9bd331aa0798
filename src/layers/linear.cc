// SPDX-License-Identifier: Apache-2.0
// Dispatches a linear layer's parts to their kernels.
#include "layers/linear.h"

#include "kernels/elementwise/elementwise.h"

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

bool Linear::CanForwardGated(int64_t rows) const {
  constexpr int64_t kMinRows = 64;  // fewer leave the results in cache anyway
  return rows >= kMinRows && weight_.CanMultiplyGated();
}

void Linear::ForwardGated(Step& step, const ActivationSet& x, ArenaMatrix out,
                          void (*combine)(const float*, const float*, int64_t, float*)) const {
  const ActivationView& view = x.View(weight_.activations().front());
  if (step.tap != nullptr) (*step.tap)(slot_, view);
  weight_.MultiplyGated(view,
                        {.out = out.data,
                         .row_stride = out.row_stride,
                         .bias = bias_.empty() ? nullptr : bias_.data(),
                         .combine = combine,
                         .store_rows = ElementwiseOpsFor(step.isa).store_rows,
                         .scratch = [&](int thread) { return step.ws.ThreadScratch(thread); }},
                        step.pool);
}

}  // namespace octavo
