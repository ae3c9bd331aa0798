// SPDX-License-Identifier: Apache-2.0
// Per-position comparison of logits, and its statistics.
#include "metrics/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "metrics/kl.h"
#include "metrics/log_probs.h"

namespace octavo {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// NaN does not order; as the worst it comes last.
double Ordered(double kl) {
  return std::isnan(kl) ? std::numeric_limits<double>::infinity() : kl;
}

template <typename Get>
double Mean(std::span<const TokenComparison> tokens, const Get& get) {
  double sum = 0;
  for (const TokenComparison& token : tokens) sum += get(token);
  return sum / static_cast<double>(tokens.size());
}

// Mean and its standard error, the sample deviation over sqrt(n); two passes, so nothing cancels.
template <typename Get>
Estimate MeanEstimate(std::span<const TokenComparison> tokens, const Get& get) {
  const double mean = Mean(tokens, get);
  const auto n = static_cast<double>(tokens.size());
  if (tokens.size() < 2) return {mean, kNaN};
  double squares = 0;
  for (const TokenComparison& token : tokens) squares += (get(token) - mean) * (get(token) - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

Estimate Quantile(const std::vector<double>& sorted, double share) {
  const auto n = static_cast<double>(sorted.size());
  const auto at = [&](double rank) {
    return sorted[static_cast<size_t>(std::clamp(std::ceil(rank), 1.0, n)) - 1];
  };
  const double deviation = std::sqrt(n * share * (1 - share));
  const double half = (at(n * share + deviation) - at(n * share - deviation)) / 2;
  return {at(n * share), half};
}

void SummarizePerplexity(std::span<const TokenComparison> tokens, ComparisonSummary& out) {
  const auto nll = [](const TokenComparison& t) { return -t.reference_log_prob; };
  const auto other_nll = [](const TokenComparison& t) { return -t.other_log_prob; };
  const Estimate reference = MeanEstimate(tokens, nll);
  const Estimate other = MeanEstimate(tokens, other_nll);
  const Estimate change = MeanEstimate(
      tokens, [](const TokenComparison& t) { return t.reference_log_prob - t.other_log_prob; });
  const double a = std::exp(reference.value);
  const double b = std::exp(other.value);
  // The delta method: d exp(m) = exp(m) dm.
  out.reference_perplexity = {a, a * reference.standard_error};
  out.other_perplexity = {b, b * other.standard_error};
  const double ratio = std::exp(change.value);
  out.perplexity_percent = {100 * (ratio - 1), 100 * ratio * change.standard_error};
  const Estimate delta = MeanEstimate(
      tokens, [&](const TokenComparison& t) { return b * other_nll(t) - a * nll(t); });
  out.perplexity_delta = {b - a, delta.standard_error};
}

}  // namespace

TokenComparison CompareLogits(std::span<const float> reference, std::span<const float> other,
                              int32_t next) {
  const int64_t top = Top1Token(reference);
  const int64_t other_top = Top1Token(other);
  const double log_z = LogSumExp(reference, reference[static_cast<size_t>(top)]);
  const double other_log_z = LogSumExp(other, other[static_cast<size_t>(other_top)]);
  const auto log_prob = [](std::span<const float> logits, double log_sum, int64_t token) {
    return static_cast<double>(logits[static_cast<size_t>(token)]) - log_sum;
  };
  return {.kl = KlDivergence(reference, log_z, other, other_log_z),
          .reference_log_prob = log_prob(reference, log_z, next),
          .other_log_prob = log_prob(other, other_log_z, next),
          .reference_top = static_cast<int32_t>(top),
          .other_top = static_cast<int32_t>(other_top),
          .reference_top_log_prob = log_prob(reference, log_z, top),
          .other_top_log_prob = log_prob(other, other_log_z, other_top)};
}

ComparisonSummary Summarize(std::span<const TokenComparison> tokens) {
  ComparisonSummary out;
  const Estimate unknown{kNaN, kNaN};
  out.positions = static_cast<int64_t>(tokens.size());
  if (tokens.empty()) {
    out.mean_kl = out.median_kl = out.p99_kl = out.top1_agreement = unknown;
    out.reference_perplexity = out.other_perplexity = unknown;
    out.perplexity_delta = out.perplexity_percent = unknown;
    out.max_kl = kNaN;
    return out;
  }
  std::vector<double> sorted;
  for (const TokenComparison& token : tokens) {
    sorted.push_back(Ordered(token.kl));
    out.non_finite += !(std::isfinite(token.kl) && std::isfinite(token.reference_log_prob) &&
                        std::isfinite(token.other_log_prob));
  }
  std::sort(sorted.begin(), sorted.end());
  out.mean_kl = MeanEstimate(tokens, [](const TokenComparison& t) { return t.kl; });
  out.median_kl = Quantile(sorted, 0.5);
  out.p99_kl = Quantile(sorted, 0.99);
  out.max_kl = sorted.back();
  out.top1_agreement = MeanEstimate(tokens, [](const TokenComparison& t) {
    return t.reference_top == t.other_top ? 1.0 : 0.0;
  });
  SummarizePerplexity(tokens, out);
  return out;
}

std::vector<int64_t> WorstTokens(std::span<const TokenComparison> tokens, int64_t count) {
  std::vector<int64_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  const auto middle = order.begin() + std::min<int64_t>(count, std::ssize(order));
  std::partial_sort(order.begin(), middle, order.end(), [&](int64_t a, int64_t b) {
    const double kl_a = Ordered(tokens[static_cast<size_t>(a)].kl);
    const double kl_b = Ordered(tokens[static_cast<size_t>(b)].kl);
    return kl_a != kl_b ? kl_a > kl_b : a < b;
  });
  order.erase(middle, order.end());
  return order;
}

Histogram KlHistogram(std::span<const TokenComparison> tokens) {
  constexpr int kFirst = -24;  // quarter decades: 1e-6
  constexpr int kLast = 8;     // 100
  Histogram histogram;
  for (int i = kFirst; i <= kLast; ++i) histogram.edges.push_back(std::pow(10.0, i / 4.0));
  histogram.counts.resize(histogram.edges.size() + 1);
  for (const TokenComparison& token : tokens) {
    const auto edge =
        std::lower_bound(histogram.edges.begin(), histogram.edges.end(), Ordered(token.kl));
    ++histogram.counts[static_cast<size_t>(edge - histogram.edges.begin())];
  }
  return histogram;
}

}  // namespace octavo
