// SPDX-License-Identifier: Apache-2.0
// Outlier features: dimensions of the residual stream that grow far beyond the others and break
// coarse activation quantization (LLM.int8(), arXiv:2208.07339, section 4).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/thread_pool.h"
#include "models/load_model.h"
#include "octavo/status.h"
#include "quality/evaluation_text.h"

namespace octavo {

inline constexpr double kSystematicPositions = 0.06;

// One dimension whose magnitude reached kOutlierThreshold (6.0) in the input of some linear layer.
struct OutlierDimension {
  int64_t dimension = 0;
  double inputs_share = 0;     // of the inputs, those in which it happened at any position
  double positions_share = 0;  // of the positions, those where it happened, mean over all inputs
  std::vector<double> max_abs; // per input

  // The paper's criterion: at least a quarter of the layers and 6 % of the positions.
  bool systematic() const { return inputs_share >= 0.25 && positions_share >= kSystematicPositions; }
  double largest() const;
};

struct OutlierStudy {
  int64_t hidden_size = 0;
  int64_t positions = 0;
  std::vector<std::string> inputs;  // slots that read a normed residual stream, in order
  std::vector<OutlierDimension> dimensions;  // systematic ones first, then by positions_share
  // By linear module, of all slots: the input columns that reach the threshold at 6 % of the positions or
  // more, ascending; modules without any are absent.
  std::map<std::string, std::vector<int32_t>> module_columns;
};

// Runs the text through the model, one layer in memory at a time. Inputs are those of the linear layers
// that a norm feeds (q/k/v, gate/up). `load.max_model_len` is set by the run; `progress` and `cancel`
// may be null.
Result<OutlierStudy> FindOutliers(std::shared_ptr<const Checkpoint> checkpoint,
                                  const LoadOptions& load, const EvaluationText& text,
                                  ThreadPool& pool, const std::atomic<bool>* cancel,
                                  const std::function<void(uint64_t, uint64_t)>& progress);

Json OutliersJson(const OutlierStudy& study);
// The `count` first dimensions as a table for the terminal.
std::string OutliersTable(const OutlierStudy& study, size_t count);
// A self-contained page: dimensions by inputs as a heat map, `more` sections, and the table.
std::string OutliersHtml(const std::string& model, const OutlierStudy& study, const std::string& more = "");

}  // namespace octavo
