// SPDX-License-Identifier: Apache-2.0
// SmoothQuant: moves the difficulty of outlier channels from activations into weights.
//
// Source: arXiv:2211.10438, equation 4: s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), X / s, W * s.
// Folded into norms; inputs of o_proj and down_proj are left alone, as in the paper.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "quantizers/input_statistics.h"
#include "quantizers/layer_modules.h"
#include "quantizers/layer_transform.h"

namespace octavo {

// Statistics of a layer's inputs by module name; modules that share an input point to the same.
using LayerInputs = std::unordered_map<std::string, const InputStatistics*>;

// The scales of a site [k], from the inputs and the weights of its consumers.
Result<std::vector<float>> SmoothQuantScales(const Checkpoint& checkpoint, const LayerModules& layer,
                                             const LayerSite& site, const LayerInputs& inputs,
                                             float alpha);

// Divides the outputs of a quantized module by `scales` [n]: rows, and the bias if there is one.
Status DivideRows(const Checkpoint& checkpoint, const LayerModule& module,
                  const std::vector<float>& scales, LayerTransform& transform);

// Divides the producer's outputs by `scales` and multiplies the consumers' columns, so that the
// layer's function stays. What a norm's new weights lose in rounding goes into the consumers' scales.
Status FoldScales(const Checkpoint& checkpoint, const LayerModules& layer, const LayerSite& site,
                  std::vector<float> scales, LayerTransform& transform);

}  // namespace octavo
