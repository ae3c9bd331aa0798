// SPDX-License-Identifier: Apache-2.0
// How many tokens fit into a step of a given duration, learnt from the steps so far.
#pragma once

#include <cstdint>

namespace octavo {

// What the next step could compute.
struct StepDemand {
  int64_t num_decodes = 0;     // running sequences that get their next token
  int64_t num_prompts = 0;     // prompts that are being computed, or wait and could start
  int64_t prefill_tokens = 0;  // theirs
};

// Fits step_ms ~ a + b * num_tokens by least squares over recent steps (exponential forgetting).
class StepClock {
 public:
  // `target_ms` 0: no target, the budget is always `max_tokens`. kAutoTargetStepMs: kAutoSlowdown times
  // a step that only decodes, so that a long prompt does not stall running streams. Prompts beyond the
  // first count as much as running streams do: with as many of them the step may take twice as long, and
  // where a whole batch starts at once its prompts are hardly split. Steps also grow with the backlog, so
  // that kBacklogSteps of them can compute it.
  StepClock(double target_ms, int64_t max_tokens)
      : target_ms_(target_ms), max_tokens_(max_tokens) {}

  void Observe(int64_t num_tokens, double step_ms);

  // Tokens (prefill and decode together) for the next step, at least kMinTokens so that prompts
  // always move.
  int64_t TokenBudget(const StepDemand& demand) const;

  static constexpr int64_t kMinTokens = 16;
  static constexpr int64_t kBacklogSteps = 32;
  // Attention over a growing prompt and noise stretch steps beyond the fit: 1.5 keeps the 99th
  // percentile of the pace under 3 times the undisturbed median.
  static constexpr double kAutoSlowdown = 1.5;

 private:
  // step_ms = fixed + per_token * num_tokens, as far as the steps seen tell.
  struct Fit {
    double fixed = 0;
    double per_token = 0;
  };
  Fit FitSteps() const;
  int64_t Clamp(double tokens) const;

  double target_ms_;
  int64_t max_tokens_;
  double weight_ = 0;  // decayed sums: 1, n, t, n*n, n*t
  double sum_n_ = 0;
  double sum_t_ = 0;
  double sum_nn_ = 0;
  double sum_nt_ = 0;
};

}  // namespace octavo
