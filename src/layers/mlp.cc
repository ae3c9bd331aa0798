// SPDX-License-Identifier: Apache-2.0
// Feed-forward blocks.
#include "layers/mlp.h"

#include <fmt/format.h>

#include <algorithm>
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

using GatedFunction = void (*)(const float* gate, const float* up, int64_t n, float* out);
using PlainFunction = void (*)(const float* x, int64_t n, float* out);

// act(gate) * up; null for what no gated block uses.
GatedFunction Gated(const ElementwiseOps& ops, ActivationFunction act) {
  switch (act) {
    case ActivationFunction::kSilu: return ops.silu_mul;
    case ActivationFunction::kGeluTanh: return ops.gelu_tanh_mul;
    case ActivationFunction::kGeluErf: return ops.gelu_erf_mul;
    case ActivationFunction::kRelu: break;
  }
  return nullptr;
}

PlainFunction Plain(const ElementwiseOps& ops, ActivationFunction act) {
  switch (act) {
    case ActivationFunction::kSilu: return ops.silu;
    case ActivationFunction::kGeluTanh: return ops.gelu_tanh;
    case ActivationFunction::kGeluErf: return ops.gelu_erf;
    case ActivationFunction::kRelu: break;
  }
  return ops.relu;
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
  const bool fused = gated_ && up_.CanForwardGated(ws.max_tokens());
  OCTAVO_RETURN_IF_ERROR(ws.ReserveThreadScratch(
      num_threads, std::max(down_.k(), fused ? PackedWeight::kGatedScratch : int64_t{0})));
  OCTAVO_RETURN_IF_ERROR(ws.activations().Reserve(up_.inputs(), ws.max_tokens(), up_.k()));
  return ws.activations().Reserve(down_.inputs(), ws.max_tokens(), down_.k());
}

void Mlp::Forward(Step& step, ArenaMatrix y, bool accumulate) const {
  ForwardRows(step, step.batch.num_tokens(), y, accumulate);
}

void Mlp::ForwardRows(Step& step, int64_t rows, ArenaMatrix y, bool accumulate) const {
  ActivationSet& x = step.ws.activations();
  const ElementwiseOps& ops = ElementwiseOpsFor(step.isa);
  const int64_t n = down_.k();
  const bool fused = gated_ && up_.CanForwardGated(rows);
  const ArenaMatrix up = step.ws.Matrix(Workspace::Role::kMlp, fused ? n : up_.n());
  fused ? up_.ForwardGated(step, x, up, Gated(ops, act_)) : up_.Forward(step, x, up, /*accumulate=*/false);
  x.Select(down_.inputs(), n);
  x.SetRows(rows, /*tiles=*/step.tap == nullptr);  // taps read rows
  step.pool.ParallelFor(rows, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = step.ws.ThreadScratch(thread);
    for (int64_t row = begin; row < end; ++row) {
      const float* gate = up.Row(row);
      if (fused) {
        x.EncodeRow(row, gate);
        continue;
      }
      gated_ ? Gated(ops, act_)(gate, gate + n, n, scratch) : Plain(ops, act_)(gate, n, scratch);
      x.EncodeRow(row, scratch);
    }
  });
  down_.Forward(step, x, y, accumulate);
}

}  // namespace octavo
