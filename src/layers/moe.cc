// SPDX-License-Identifier: Apache-2.0
// Routing and the per-expert passes.
#include "layers/moe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "layers/norm.h"

namespace octavo {

Status MoeMlp::Reserve(Workspace& ws, int num_threads) const {
  const int64_t hidden = router_.k();
  OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kBranch, hidden));
  OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kFinal, std::max(hidden, router_.n())));
  OCTAVO_RETURN_IF_ERROR(ws.activations().Reserve(inputs(), ws.max_tokens(), hidden));
  OCTAVO_RETURN_IF_ERROR(ws.activations().Reserve(router_.inputs(), ws.max_tokens(), hidden));
  for (const Mlp& expert : experts_) {
    OCTAVO_RETURN_IF_ERROR(expert.Reserve(ws, num_threads));
  }
  return Status::Ok();
}

std::vector<const Linear*> MoeMlp::linears() const {
  std::vector<const Linear*> out = {&router_};
  for (const Mlp& expert : experts_) {
    for (const Linear* linear : expert.linears()) out.push_back(linear);
  }
  return out;
}

std::vector<std::vector<MoeMlp::Assignment>> MoeMlp::Route(ArenaMatrix logits, int64_t rows) const {
  const size_t count = experts_.size();
  std::vector<std::vector<Assignment>> assignments(count);
  std::vector<float> p(count);
  std::vector<size_t> order(count);
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = logits.Row(row);
    const float max = *std::max_element(x, x + count);
    for (size_t e = 0; e < count; ++e) p[e] = std::exp(x[e] - max);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
    // The softmax over all experts and the renormalization over the chosen ones share a divisor.
    float sum = 0;
    for (int i = 0; i < top_k_; ++i) sum += p[order[static_cast<size_t>(i)]];
    for (int i = 0; i < top_k_; ++i) {
      const size_t e = order[static_cast<size_t>(i)];
      assignments[e].push_back({.row = row, .weight = p[e] / sum});
    }
  }
  return assignments;
}

void MoeMlp::Forward(Step& step, ArenaMatrix y, bool accumulate) const {
  const int64_t rows = step.batch.num_tokens();
  const int64_t hidden = router_.k();
  ActivationSet& activations = step.ws.activations();
  // The normed rows outlive the activation buffers, which the router and each expert overwrite.
  const ArenaMatrix normed = step.ws.Matrix(Workspace::Role::kBranch, hidden);
  const ActivationView& input = activations.View(kInput);
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(normed.Row(row), input.Row<float>(row), static_cast<size_t>(hidden) * sizeof(float));
  }
  ProduceActivations(step, normed, rows, hidden, router_.inputs());
  const ArenaMatrix logits = step.ws.Matrix(Workspace::Role::kFinal, router_.n());
  router_.Forward(step, activations, logits, /*accumulate=*/false);
  const auto assignments = Route(logits, rows);

  if (!accumulate) {
    for (int64_t row = 0; row < rows; ++row) std::fill_n(y.Row(row), hidden, 0.0f);
  }
  const ArenaMatrix out = step.ws.Matrix(Workspace::Role::kFinal, hidden);
  std::vector<int64_t> expert_rows;
  for (size_t e = 0; e < experts_.size(); ++e) {
    const std::vector<Assignment>& share = assignments[e];
    if (share.empty()) continue;
    expert_rows.clear();
    for (const Assignment& a : share) expert_rows.push_back(a.row);
    ProduceActivationRows(step, normed, expert_rows, hidden, experts_[e].inputs());
    experts_[e].ForwardRows(step, static_cast<int64_t>(share.size()), out, /*accumulate=*/false);
    if (step.taps_only) continue;
    step.pool.ParallelFor(static_cast<int64_t>(share.size()), 1,
                          [&](int64_t begin, int64_t end, int) {
                            for (int64_t i = begin; i < end; ++i) {
                              const Assignment& a = share[static_cast<size_t>(i)];
                              float* to = y.Row(a.row);
                              const float* from = out.Row(i);
                              for (int64_t j = 0; j < hidden; ++j) to[j] += a.weight * from[j];
                            }
                          });
  }
}

}  // namespace octavo
