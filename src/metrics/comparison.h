// SPDX-License-Identifier: Apache-2.0
// Two models on the same tokens: what each position says, and what all positions say together, with
// standard errors.
//
// Standard errors treat positions as independent draws. Where both models appear (KL divergence,
// perplexity ratio), differences are taken per position first, so the text's own variance cancels.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace octavo {

// One position with the token that really follows.
struct TokenComparison {
  double kl = 0;                  // KL(reference || other) in nats
  double reference_log_prob = 0;  // of the token that follows
  double other_log_prob = 0;
  int32_t reference_top = 0;      // most likely token and its log-probability
  int32_t other_top = 0;
  double reference_top_log_prob = 0;
  double other_top_log_prob = 0;
};

// From the logits [vocab_size] of both models; `next` is inside.
TokenComparison CompareLogits(std::span<const float> reference, std::span<const float> other,
                              int32_t next);

// A measured value with its standard error; NaN where it is not known.
struct Estimate {
  double value = 0;
  double standard_error = 0;
};

struct ComparisonSummary {
  int64_t positions = 0;
  int64_t non_finite = 0;  // positions where a log-probability or KL is NaN or infinite
  Estimate mean_kl;
  Estimate median_kl;
  Estimate p99_kl;
  double max_kl = 0;
  Estimate top1_agreement;
  Estimate reference_perplexity;
  Estimate other_perplexity;
  Estimate perplexity_delta;    // other - reference
  Estimate perplexity_percent;  // 100 * (other / reference - 1)
};

// Equal windows are assumed, so that the perplexities are those of metrics/perplexity.h. All values
// are NaN when there is no position. KL quantiles are order statistics, their errors Woodruff's (half
// the distance between the order statistics one standard deviation of the rank apart).
ComparisonSummary Summarize(std::span<const TokenComparison> tokens);

// Indices of the `count` positions with the largest KL, largest first; NaN counts as infinite.
std::vector<int64_t> WorstTokens(std::span<const TokenComparison> tokens, int64_t count);

// Counts of KL values per bin: (0, edges[0]], (edges[0], edges[1]], ..., (edges.back(), inf].
struct Histogram {
  std::vector<double> edges;    // ascending
  std::vector<int64_t> counts;  // edges.size() + 1
};
// Bins of a quarter decade from 1e-6 to 100 nats.
Histogram KlHistogram(std::span<const TokenComparison> tokens);

}  // namespace octavo
