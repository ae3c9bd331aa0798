// SPDX-License-Identifier: Apache-2.0
// Perplexity by GPTQ's protocol, the one that quantization papers and tables use.
//
// The text is tokenized once and cut into floor(N / window) disjoint windows; the rest is dropped.
// Within a window the first token has no prediction, so window - 1 cross entropies are averaged; the
// perplexity is exp of the mean over windows. Source: GPTQ, arXiv:2210.17323, its published code.
#pragma once

#include <cstdint>

namespace octavo {

inline constexpr int64_t kPerplexityWindow = 2048;  // tokens; all published numbers use it

// Collects token log-probabilities, window by window.
class PerplexityMeter {
 public:
  // Opens the next window.
  void BeginWindow();

  // Adds log p(next token) of one position of the open window.
  void Add(double log_prob);

  // Finished and open windows with at least one token.
  int64_t windows() const { return windows_ + (window_tokens_ > 0 ? 1 : 0); }

  // Predicted tokens so far.
  int64_t tokens() const { return tokens_; }

  // exp(mean over windows of the mean -log p); NaN before the first token.
  double perplexity() const;

 private:
  double sum_of_means_ = 0;  // closed windows
  int64_t windows_ = 0;      // closed windows
  double window_sum_ = 0;
  int64_t window_tokens_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace octavo
