// SPDX-License-Identifier: Apache-2.0
// Feed-forward blocks.
#include "layers/mlp.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "kernels/elementwise/elementwise.h"

namespace octavo {
namespace {

constexpr std::array<std::pair<std::string_view, ActivationFunction>, 9> kNames = {{
    {"silu", ActivationFunction::kSilu},
    {"swish", ActivationFunction::kSilu},
    {"gelu", ActivationFunction::kGeluErf},
    {"gelu_python", ActivationFunction::kGeluErf},
    {"gelu_new", ActivationFunction::kGeluTanh},
    {"gelu_fast", ActivationFunction::kGeluTanh},
    {"gelu_pytorch_tanh", ActivationFunction::kGeluTanh},
    {"relu", ActivationFunction::kRelu},
    {"gelu_tanh", ActivationFunction::kGeluTanh},
}};

// act(gate) * up for gated blocks, act(gate) for plain ones (up is null).
void ActivateRow(const ElementwiseOps& ops, ActivationFunction act, const float* gate,
                 const float* up, int64_t n, float* out) {
  switch (act) {
    case ActivationFunction::kSilu:
      return up != nullptr ? ops.silu_mul(gate, up, n, out) : ops.silu(gate, n, out);
    case ActivationFunction::kGeluTanh:
      return up != nullptr ? ops.gelu_tanh_mul(gate, up, n, out) : ops.gelu_tanh(gate, n, out);
    case ActivationFunction::kGeluErf:
      return up != nullptr ? ops.gelu_erf_mul(gate, up, n, out) : ops.gelu_erf(gate, n, out);
    case ActivationFunction::kRelu: return ops.relu(gate, n, out);
  }
}

}  // namespace

Result<ActivationFunction> ActivationFunctionFromName(std::string_view name) {
  for (const auto& [known, function] : kNames) {
    if (known == name) return function;
  }
  return Unimplemented(fmt::format("activation function '{}' is not supported", name));
}

Status Mlp::Reserve(Workspace& ws, int num_threads) const {
  OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kMlp, up_.n()));
  OCTAVO_RETURN_IF_ERROR(ws.ReserveThreadScratch(num_threads, down_.k()));
  OCTAVO_RETURN_IF_ERROR(ws.activations().Reserve(up_.inputs(), ws.max_tokens(), up_.k()));
  return ws.activations().Reserve(down_.inputs(), ws.max_tokens(), down_.k());
}

void Mlp::Forward(Step& step, ArenaMatrix y, bool accumulate) const {
  ForwardRows(step, step.batch.num_tokens(), y, accumulate);
}

void Mlp::ForwardRows(Step& step, int64_t rows, ArenaMatrix y, bool accumulate) const {
  ActivationSet& x = step.ws.activations();
  const ArenaMatrix up = step.ws.Matrix(Workspace::Role::kMlp, up_.n());
  up_.Forward(step, x, up, /*accumulate=*/false);
  const ElementwiseOps& ops = ElementwiseOpsFor(step.isa);
  x.Select(down_.inputs(), down_.k());
  x.SetRows(rows, /*tiles=*/step.tap == nullptr);  // taps read rows
  step.pool.ParallelFor(rows, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = step.ws.ThreadScratch(thread);
    for (int64_t row = begin; row < end; ++row) {
      const float* gate = up.Row(row);
      const float* multiplier = gated_ ? gate + down_.k() : nullptr;
      ActivateRow(ops, act_, gate, multiplier, down_.k(), scratch);
      x.EncodeRow(row, scratch);
    }
  });
  if (step.taps_only) return down_.Observe(step, x);
  down_.Forward(step, x, y, accumulate);
}

}  // namespace octavo
