// SPDX-License-Identifier: Apache-2.0
// Accumulation of perplexity over windows.
#include "metrics/perplexity.h"

#include <cmath>
#include <limits>

namespace octavo {

void PerplexityMeter::BeginWindow() {
  if (window_tokens_ == 0) return;
  sum_of_means_ += window_sum_ / static_cast<double>(window_tokens_);
  ++windows_;
  window_sum_ = 0;
  window_tokens_ = 0;
}

void PerplexityMeter::Add(double log_prob) {
  window_sum_ -= log_prob;
  ++window_tokens_;
  ++tokens_;
}

double PerplexityMeter::perplexity() const {
  if (windows() == 0) return std::numeric_limits<double>::quiet_NaN();
  const double open = window_tokens_ > 0 ? window_sum_ / static_cast<double>(window_tokens_) : 0.0;
  return std::exp((sum_of_means_ + open) / static_cast<double>(windows()));
}

}  // namespace octavo
