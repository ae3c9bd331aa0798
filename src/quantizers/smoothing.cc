// SPDX-License-Identifier: Apache-2.0
// Scales of SmoothQuant and the folding that AWQ shares.
#include "quantizers/smoothing.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "schemes/weight_source.h"

namespace octavo {
namespace {

constexpr float kFloor = 1e-5f;  // of weights and scales
constexpr int64_t kReadRows = 256;

// max |w| per column over all rows of a module.
Status ColumnAbsMax(const Checkpoint& checkpoint, const StoredTensor& tensor,
                    std::vector<float>& absmax) {
  const int64_t k = tensor.cols();
  std::vector<float> rows(static_cast<size_t>(kReadRows * k));
  for (int64_t begin = 0; begin < tensor.rows(); begin += kReadRows) {
    const int64_t count = std::min(kReadRows, tensor.rows() - begin);
    OCTAVO_RETURN_IF_ERROR(ReadOriginalRows(checkpoint, tensor, begin, count, rows.data()));
    for (int64_t i = 0; i < count * k; ++i) {
      float& max = absmax[static_cast<size_t>(i % k)];
      max = std::max(max, std::fabs(rows[static_cast<size_t>(i)]));
    }
  }
  return Status::Ok();
}

// values / scales in the type that is written. With `exact` the scales take up the rounding.
Status DivideVector(const Checkpoint& checkpoint, const std::string& tensor, bool exact,
                    std::vector<float>& scales, LayerTransform& transform) {
  const StoredTensor* stored = checkpoint.Find(tensor);
  OCTAVO_ASSIGN_OR_RETURN(std::vector<float> values, CurrentVector(checkpoint, transform, tensor));
  for (size_t i = 0; i < values.size(); ++i) {
    const float original = values[i];
    values[i] = RoundToDType(WrittenType(checkpoint, *stored), original / scales[i]);
    if (!exact) continue;
    const float scale = original / values[i];
    scales[i] = std::isfinite(scale) && scale > 0 ? scale : 1.0f;
    if (values[i] == 0 || scale <= 0) values[i] = original;
  }
  transform.dense[tensor] = std::move(values);
  return Status::Ok();
}

// A consumer that is not quantized (a router) is written with scaled columns.
Status ScaleDense(const Checkpoint& checkpoint, const LayerModule& module,
                  const std::vector<float>& scales, LayerTransform& transform) {
  const std::string tensor = module.name + ".weight";
  OCTAVO_ASSIGN_OR_RETURN(std::vector<float> values, ReadOriginal(checkpoint, tensor));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = RoundToDType(WrittenType(checkpoint, *module.tensor),
                             values[i] * scales[i % scales.size()]);
  }
  transform.dense[tensor] = std::move(values);
  return Status::Ok();
}

}  // namespace

Result<std::vector<float>> SmoothQuantScales(const Checkpoint& checkpoint, const LayerModules& layer,
                                             const LayerSite& site, const LayerInputs& inputs,
                                             float alpha) {
  const auto k = static_cast<size_t>(layer.modules[site.consumers.front()].tensor->cols());
  std::vector<float> input(k);
  std::vector<float> weight(k, kFloor);
  for (const size_t index : site.consumers) {
    const LayerModule& module = layer.modules[index];
    OCTAVO_RETURN_IF_ERROR(ColumnAbsMax(checkpoint, *module.tensor, weight));
    const auto it = inputs.find(module.name);
    if (it == inputs.end()) continue;  // an expert without tokens
    for (size_t i = 0; i < k; ++i) input[i] = std::max(input[i], it->second->absmax[i]);
  }
  std::vector<float> scales(k, 1.0f);
  for (size_t i = 0; i < k; ++i) {
    if (input[i] == 0) continue;
    scales[i] = std::max(kFloor, std::pow(input[i], alpha) / std::pow(weight[i], 1 - alpha));
  }
  return scales;
}

Status DivideRows(const Checkpoint& checkpoint, const LayerModule& module,
                  const std::vector<float>& scales, LayerTransform& transform) {
  transform.row_scale[module.name] = scales;
  const std::string bias = module.name + ".bias";
  if (checkpoint.Find(bias) == nullptr) return Status::Ok();
  std::vector<float> unchanged = scales;
  return DivideVector(checkpoint, bias, /*exact=*/false, unchanged, transform);
}

Status FoldScales(const Checkpoint& checkpoint, const LayerModules& layer, const LayerSite& site,
                  std::vector<float> scales, LayerTransform& transform) {
  if (!site.norm) {
    OCTAVO_RETURN_IF_ERROR(DivideRows(checkpoint, *layer.Find(site.producer), scales, transform));
  } else {
    const std::string bias = site.producer + ".bias";
    OCTAVO_RETURN_IF_ERROR(
        DivideVector(checkpoint, site.producer + ".weight", /*exact=*/true, scales, transform));
    if (checkpoint.Find(bias) != nullptr) {
      OCTAVO_RETURN_IF_ERROR(DivideVector(checkpoint, bias, /*exact=*/false, scales, transform));
    }
  }
  for (const size_t index : site.consumers) {
    const LayerModule& module = layer.modules[index];
    if (module.quantized()) {
      transform.column_scale[module.name] = scales;
    } else {
      OCTAVO_RETURN_IF_ERROR(ScaleDense(checkpoint, module, scales, transform));
    }
  }
  return Status::Ok();
}

}  // namespace octavo
