// SPDX-License-Identifier: Apache-2.0
// One vector from a prompt's hidden states.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "octavo/engine.h"

namespace octavo {

// Rows come in ascending position, in as many steps as it takes; sums in double, so chunks do not
// show.
class EmbeddingPooler {
 public:
  EmbeddingPooler(Pooling pooling, bool normalize, size_t hidden_size)
      : pooling_(pooling), normalize_(normalize), sum_(hidden_size) {}

  // Only the last row counts: a cached prefix does no harm.
  bool last_only() const { return pooling_ == Pooling::kLast; }

  // The prompt starts over (it was preempted).
  void Restart() {
    sum_.assign(sum_.size(), 0);
    num_rows_ = 0;
  }

  void Add(std::span<const float> hidden) {
    for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += static_cast<double>(hidden[i]);
    ++num_rows_;
  }

  std::vector<float> Finish() const {
    double square = 0;
    for (const double x : sum_) square += x * x;
    const double scale = normalize_ ? (square > 0 ? 1 / std::sqrt(square) : 1) : 1.0 / num_rows_;
    std::vector<float> embedding(sum_.size());
    for (size_t i = 0; i < sum_.size(); ++i) embedding[i] = static_cast<float>(sum_[i] * scale);
    return embedding;
  }

 private:
  Pooling pooling_;
  bool normalize_;
  std::vector<double> sum_;
  int num_rows_ = 0;
};

}  // namespace octavo
