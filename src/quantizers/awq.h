// SPDX-License-Identifier: Apache-2.0
// AWQ: scales up the few weight columns that matter most before rounding, and clips groups.
//
// Source: arXiv:2306.00978, sections 3.2 and 3.3, and the grids of its published code.
// Differs: linears behind a norm are judged by the output of the whole layer and not by that of the
// attention or MLP block (scale_judge.h).
#pragma once

#include <functional>
#include <vector>

#include "quantizers/smoothing.h"

namespace octavo {

struct AwqScales {
  std::vector<float> scales;  // [k]; all ones for ratio 0
  double ratio = 0;           // s = mean|x|^ratio
  bool duo_scaling = false;   // and over mean|w|^(1 - ratio), every |w| relative to the largest of its group
  double error = 0;           // of the output, relative to that of ratio 0 (squared norms)
};

// An error of the layer whose consumers of a site are rounded under `scales`; only ratios of errors count.
using ScaleError = std::function<Result<double>(const std::vector<float>& scales)>;

// The best of ratios 0, 0.05, ... 0.95 for a site, without and with weights (llm-compressor's duo_scaling "both");
// either family is left where errors grow.
Result<AwqScales> SearchAwqScales(const Checkpoint& checkpoint, const LayerModules& layer,
                                  const LayerSite& site, const LayerInputs& inputs, const ScaleError& error);

// Best limit of |w| for every group (or whole row, without groups) of a module's rows, among 1, 0.95, ... 0.55 of
// its maximum, by the error of the group's share of the output. `transform` holds the module's scales. Not meant
// for q and k, whose outputs meet in a softmax.
Result<WeightClip> SearchAwqClip(const Checkpoint& checkpoint, const LayerModule& module,
                                 const LayerTransform& transform, const InputStatistics& input,
                                 MatrixProduct& product);

}  // namespace octavo
