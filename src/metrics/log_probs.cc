// SPDX-License-Identifier: Apache-2.0
// Log-sum-exp, argmax and margins over one row of logits.
#include "metrics/log_probs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace octavo {

double LogSumExp(std::span<const float> logits) {
  OCTAVO_DCHECK(!logits.empty());
  float largest = -std::numeric_limits<float>::infinity();
  bool nan = false;
  for (const float logit : logits) {
    nan |= std::isnan(logit);
    largest = std::max(largest, logit);
  }
  if (nan) return std::numeric_limits<double>::quiet_NaN();
  if (std::isinf(largest)) return largest;  // all -inf, or a +inf that owns everything
  double sum = 0;
  for (const float logit : logits) sum += static_cast<double>(std::exp(logit - largest));
  return static_cast<double>(largest) + std::log(sum);
}

double LogProb(std::span<const float> logits, int64_t token) {
  OCTAVO_DCHECK(token >= 0 && token < static_cast<int64_t>(logits.size()));
  return static_cast<double>(logits[static_cast<size_t>(token)]) - LogSumExp(logits);
}

int64_t Top1Token(std::span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

float Top1Margin(std::span<const float> logits) {
  OCTAVO_DCHECK(logits.size() >= 2);
  float first = -std::numeric_limits<float>::infinity();
  float second = first;
  for (const float logit : logits) {
    second = std::max(second, std::min(first, logit));
    first = std::max(first, logit);
  }
  return first - second;
}

}  // namespace octavo
