// SPDX-License-Identifier: Apache-2.0
// The least-squares fit.
#include "engine/step_clock.h"

#include <algorithm>

#include "octavo/engine_options.h"

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

StepClock::Fit StepClock::FitSteps() const {
  const double variance = sum_nn_ * weight_ - sum_n_ * sum_n_;
  // All steps of one size: assume time in proportion.
  if (variance <= 1e-6 * sum_nn_ * weight_) return {.fixed = 0, .per_token = std::max(sum_t_ / sum_n_, 1e-6)};
  const double slope = std::max((sum_nt_ * weight_ - sum_n_ * sum_t_) / variance, 1e-6);
  return {.fixed = std::max((sum_t_ - slope * sum_n_) / weight_, 0.0), .per_token = slope};
}

int64_t StepClock::Clamp(double tokens) const {
  const double most = static_cast<double>(max_tokens_);
  return std::max(static_cast<int64_t>(std::clamp(tokens, 0.0, most)),
                  std::min(kMinTokens, max_tokens_));
}

int64_t StepClock::TokenBudget(const StepDemand& demand) const {
  const bool automatic = target_ms_ == kAutoTargetStepMs;
  if (target_ms_ == 0 || (automatic && demand.num_decodes == 0)) return max_tokens_;
  if (weight_ < 1 || sum_n_ <= 0) return std::min<int64_t>(max_tokens_, 4 * kMinTokens);
  const Fit fit = FitSteps();
  const auto decodes = static_cast<double>(demand.num_decodes);
  double target = target_ms_;
  if (automatic) {
    const auto others = static_cast<double>(std::max<int64_t>(demand.num_prompts - 1, 0));
    target = kAutoSlowdown * (1 + others / decodes) * (fit.fixed + fit.per_token * decodes);
  }
  double tokens = (target - fit.fixed) / fit.per_token;
  if (automatic) {
    tokens = std::max(tokens, static_cast<double>(demand.prefill_tokens) / kBacklogSteps);
  }
  return Clamp(tokens);
}

}  // namespace octavo
