// SPDX-License-Identifier: Apache-2.0
// How many tokens fit into a step of a given duration, learnt from the steps so far.
#pragma once

#include <cstdint>

namespace octavo {

// Fits step_ms ~ a + b * num_tokens by least squares over recent steps (exponential forgetting).
class StepClock {
 public:
  // `target_ms` 0: no target, the budget is always `max_tokens`.
  StepClock(double target_ms, int64_t max_tokens)
      : target_ms_(target_ms), max_tokens_(max_tokens) {}

  void Observe(int64_t num_tokens, double step_ms);

  // Tokens (prefill and decode together) for the next step, at least kMinTokens so that prompts
  // always move.
  int64_t TokenBudget() const;

  static constexpr int64_t kMinTokens = 16;

 private:
  double target_ms_;
  int64_t max_tokens_;
  double weight_ = 0;  // decayed sums: 1, n, t, n*n, n*t
  double sum_n_ = 0;
  double sum_t_ = 0;
  double sum_nn_ = 0;
  double sum_nt_ = 0;
};

}  // namespace octavo
