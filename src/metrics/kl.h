// SPDX-License-Identifier: Apache-2.0
// How far a changed model's predictions are from the original's: KL divergence and top-1 agreement.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace octavo {

// KL(P || Q) in nats, P = softmax(reference), Q = softmax(other); both [vocab_size]. Never below 0:
// no element of the sum is. Infinite when Q forbids what P allows (with more than e^-87), NaN when an
// input is NaN.
double KlDivergence(std::span<const float> reference, std::span<const float> other);

// The same with LogSumExp of both known.
double KlDivergence(std::span<const float> reference, double reference_log_sum,
                    std::span<const float> other, double other_log_sum);

// Statistics over many positions.
class DivergenceMeter {
 public:
  // One position: the logits of the original and of the changed model.
  void Add(std::span<const float> reference, std::span<const float> other);

  int64_t count() const { return static_cast<int64_t>(kl_.size()); }
  double mean_kl() const;
  double max_kl() const;
  // The smallest value that at least `share` of the positions do not exceed, e.g. 0.99.
  double kl_quantile(double share) const;

  // Share of positions where both models' most likely token is the same.
  double top1_agreement() const;

  // The same over positions where the original's top-1 margin (in logits) exceeds `margin`; a changed
  // choice there is an error rather than a coin toss. 1 when there is no such position.
  double top1_agreement_above(float margin) const;

 private:
  std::vector<double> kl_;
  std::vector<float> margin_;
  std::vector<bool> same_top1_;
};

}  // namespace octavo
