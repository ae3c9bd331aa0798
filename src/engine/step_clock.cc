// SPDX-License-Identifier: Apache-2.0
// The least-squares fit.
#include "engine/step_clock.h"

#include <algorithm>

namespace octavo {

void StepClock::Observe(int64_t num_tokens, double step_ms) {
  constexpr double kDecay = 0.98;  // remembers about 50 steps
  const auto n = static_cast<double>(num_tokens);
  weight_ = weight_ * kDecay + 1;
  sum_n_ = sum_n_ * kDecay + n;
  sum_t_ = sum_t_ * kDecay + step_ms;
  sum_nn_ = sum_nn_ * kDecay + n * n;
  sum_nt_ = sum_nt_ * kDecay + n * step_ms;
}

int64_t StepClock::TokenBudget() const {
  if (target_ms_ <= 0) return max_tokens_;
  const int64_t cautious = std::min<int64_t>(max_tokens_, 4 * kMinTokens);
  if (weight_ < 1 || sum_n_ <= 0) return cautious;
  const double variance = sum_nn_ * weight_ - sum_n_ * sum_n_;
  double slope = sum_t_ / sum_n_;  // all steps of one size: assume time in proportion
  double fixed = 0;
  if (variance > 1e-6 * sum_nn_ * weight_) {
    slope = std::max((sum_nt_ * weight_ - sum_n_ * sum_t_) / variance, 1e-6);
    fixed = std::max((sum_t_ - slope * sum_n_) / weight_, 0.0);
  }
  const double tokens = std::min((target_ms_ - fixed) / slope, static_cast<double>(max_tokens_));
  return std::clamp(static_cast<int64_t>(std::max(tokens, 0.0)), std::min(kMinTokens, max_tokens_),
                    max_tokens_);
}

}  // namespace octavo
