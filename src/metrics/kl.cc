// SPDX-License-Identifier: Apache-2.0
// KL divergence between two rows of logits, and its statistics.
#include "metrics/kl.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "kernels/elementwise/elementwise.h"
#include "metrics/log_probs.h"

namespace octavo {

double KlDivergence(std::span<const float> reference, std::span<const float> other) {
  return KlDivergence(reference, LogSumExp(reference), other, LogSumExp(other));
}

double KlDivergence(std::span<const float> reference, double log_z_p, std::span<const float> other,
                    double log_z_q) {
  OCTAVO_CHECK(reference.size() == other.size());
  if (std::isnan(log_z_p) || std::isnan(log_z_q)) return std::numeric_limits<double>::quiet_NaN();
  return ActiveElementwiseOps().kl_divergence(reference.data(), log_z_p, other.data(), log_z_q,
                                              std::ssize(reference));
}

void DivergenceMeter::Add(std::span<const float> reference, std::span<const float> other) {
  kl_.push_back(KlDivergence(reference, other));
  margin_.push_back(Top1Margin(reference));
  same_top1_.push_back(Top1Token(reference) == Top1Token(other));
}

double DivergenceMeter::mean_kl() const {
  if (kl_.empty()) return std::numeric_limits<double>::quiet_NaN();
  return std::accumulate(kl_.begin(), kl_.end(), 0.0) / static_cast<double>(kl_.size());
}

double DivergenceMeter::max_kl() const { return kl_quantile(1.0); }

double DivergenceMeter::kl_quantile(double share) const {
  if (kl_.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::vector<double> sorted = kl_;
  const double rank = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(sorted.size()));
  const auto nth = sorted.begin() + static_cast<int64_t>(std::max(1.0, rank)) - 1;
  std::nth_element(sorted.begin(), nth, sorted.end());
  return *nth;
}

double DivergenceMeter::top1_agreement() const {
  if (kl_.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto same = std::count(same_top1_.begin(), same_top1_.end(), true);
  return static_cast<double>(same) / static_cast<double>(kl_.size());
}

double DivergenceMeter::top1_agreement_above(float margin) const {
  int64_t sure = 0;
  int64_t same = 0;
  for (size_t i = 0; i < kl_.size(); ++i) {
    if (margin_[i] <= margin) continue;
    ++sure;
    same += same_top1_[i];
  }
  return sure == 0 ? 1.0 : static_cast<double>(same) / static_cast<double>(sure);
}

}  // namespace octavo
