// SPDX-License-Identifier: Apache-2.0
// What a model loses without its outlier features, against as many random ones.
//
// Source: LLM.int8(), arXiv:2208.07339, section 4: zeroing at most 7 outlier dimensions raises perplexity
// by 600 to 1000 %, as many random ones by 0.1 %.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "quality/outliers.h"

namespace octavo {

inline constexpr size_t kMaxZeroedDimensions = 7;

// Perplexities with the first 0, 1, 2, ... dimensions of each list zeroed in the inputs of q/k/v and
// gate/up of all layers.
struct OutlierAblation {
  std::vector<int64_t> outliers;  // the systematic ones, by positions_share; the first few if there are none
  std::vector<int64_t> random;    // as many others
  std::vector<double> without_outliers;
  std::vector<double> without_random;  // [0] is the same number
};

// Runs the text 2 * dimensions + 1 times, one layer in memory at a time. `study` is that of the same
// model; without any dimension in it the lists stay empty. `cancel` and `progress` may be null.
Result<OutlierAblation> ZeroOutliers(std::shared_ptr<const Checkpoint> checkpoint, const OutlierStudy& study,
                                     const EvaluationText& text, uint64_t seed, ThreadPool& pool,
                                     const std::atomic<bool>* cancel,
                                     const std::function<void(uint64_t, uint64_t)>& progress);

std::string AblationTable(const OutlierAblation& ablation);
Json AblationJson(const OutlierAblation& ablation);
// A section of the page of `octavo outliers`: the two curves.
std::string AblationHtml(const OutlierAblation& ablation);

}  // namespace octavo
