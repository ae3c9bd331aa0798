// SPDX-License-Identifier: Apache-2.0
// Logits of some rows, compared in pairs.
#include "quantizers/prediction_comparison.h"

#include <cmath>

#include "metrics/comparison.h"

namespace octavo {
namespace {

constexpr int64_t kPositionStep = 4;

}  // namespace

PredictionComparison::PredictionComparison(LayerwiseModel& model, ThreadPool& pool,
                                           std::span<const int64_t> lengths)
    : model_(model), pool_(pool), chunks_(1) {
  int64_t row = 0;
  for (const int64_t length : lengths) {
    for (int64_t i = kPositionStep - 1; i < length; i += kPositionStep) {
      if (std::ssize(chunks_.back()) == LayerwiseModel::kMaxLogitRows) chunks_.emplace_back();
      chunks_.back().push_back(static_cast<size_t>(row + i));
      ++positions_;
    }
    row += length;
  }
}

Status PredictionComparison::Logits(const std::vector<float>& hidden,
                                    const std::vector<size_t>& rows,
                                    std::vector<float>& logits) const {
  const auto size = static_cast<std::ptrdiff_t>(model_.config().hidden_size);
  std::vector<float> x;
  for (const size_t row : rows) {
    const auto at = hidden.begin() + static_cast<std::ptrdiff_t>(row) * size;
    x.insert(x.end(), at, at + size);
  }
  logits.resize(rows.size() * static_cast<size_t>(model_.config().vocab_size));
  return model_.Logits(x.data(), std::ssize(rows), logits.data());
}

Status PredictionComparison::AddDivergence(const std::vector<float>& reference,
                                           const std::vector<float>& other, size_t count,
                                           double& sum) const {
  const size_t vocab_size = reference.size() / count;
  std::vector<double> kl(count);
  pool_.ParallelFor(static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end, int) {
    for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
      kl[row] = CompareLogits(std::span(reference).subspan(row * vocab_size, vocab_size),
                              std::span(other).subspan(row * vocab_size, vocab_size), 0)
                    .kl;
    }
  });
  for (const double value : kl) sum += value;
  if (std::isfinite(sum)) return Status::Ok();
  return DataLoss(model_.checkpoint().path() + ": predictions are not finite");
}

}  // namespace octavo
