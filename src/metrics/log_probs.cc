// SPDX-License-Identifier: Apache-2.0
// Log-sum-exp, argmax and margins over one row of logits.
#include "metrics/log_probs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/elementwise/elementwise.h"

namespace octavo {

double LogSumExp(std::span<const float> logits) {
  OCTAVO_DCHECK(!logits.empty());
  return LogSumExp(logits, ActiveElementwiseOps().max(logits.data(), std::ssize(logits)));
}

double LogSumExp(std::span<const float> logits, float largest) {
  if (std::isinf(largest)) {  // all -inf, or a +inf that owns everything
    const bool nan = std::ranges::any_of(logits, [](float x) { return std::isnan(x); });
    return nan ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(largest);
  }
  return static_cast<double>(largest) + std::log(ActiveElementwiseOps().sum_exp(logits.data(), largest, std::ssize(logits)));
}

double LogProb(std::span<const float> logits, int64_t token) {
  OCTAVO_DCHECK(token >= 0 && token < static_cast<int64_t>(logits.size()));
  return static_cast<double>(logits[static_cast<size_t>(token)]) - LogSumExp(logits);
}

int64_t Top1Token(std::span<const float> logits) {
  constexpr size_t kBlock = 4096;  // one pass over the row; the winner is looked up in its block alone
  float largest = -std::numeric_limits<float>::infinity();
  std::span<const float> block = logits.first(std::min(kBlock, logits.size()));
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const auto candidate = logits.subspan(begin, std::min(kBlock, logits.size() - begin));
    const float value = ActiveElementwiseOps().max(candidate.data(), std::ssize(candidate));
    if (!(value > largest)) continue;
    largest = value;
    block = candidate;
  }
  const auto winner = std::ranges::find(block, largest);
  return winner == block.end() ? 0 : &*winner - logits.data();
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
