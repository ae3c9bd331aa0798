// SPDX-License-Identifier: Apache-2.0
// How far a disturbed residual stream moves a model's predictions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "models/layerwise_model.h"
#include "octavo/status.h"

namespace octavo {

class PredictionComparison {
 public:
  // Looks at every fourth position of texts of these lengths, which lie back to back in residual
  // streams [sum of lengths, hidden_size]. `model` and `pool` must outlive it.
  PredictionComparison(LayerwiseModel& model, ThreadPool& pool, std::span<const int64_t> lengths);

  // The positions' rows, in pieces that are compared at a time.
  const std::vector<std::vector<size_t>>& chunks() const { return chunks_; }
  int64_t positions() const { return positions_; }  // in all chunks

  // Logits [rows.size(), vocab_size] of a residual stream after the last layer; the model's head must
  // be loaded.
  Status Logits(const std::vector<float>& hidden, const std::vector<size_t>& rows,
                std::vector<float>& logits) const;

  // Adds KL(reference || other) of `count` rows of logits to `sum`, in nats. Errors: DataLoss where it
  // is not finite.
  Status AddDivergence(const std::vector<float>& reference, const std::vector<float>& other,
                       size_t count, double& sum) const;

 private:
  LayerwiseModel& model_;
  ThreadPool& pool_;
  std::vector<std::vector<size_t>> chunks_;
  int64_t positions_ = 0;
};

}  // namespace octavo
