// SPDX-License-Identifier: Apache-2.0
// Reads how a checkpoint was made, or looks at its norms.
#include "quality/transformed_modules.h"

#include <algorithm>
#include <string_view>

#include "base/float16.h"

namespace octavo {
namespace {

constexpr const char* kReportFile = "/octavo_quantize.json";

// "model.layers.3." of a tensor in that layer, else empty.
std::string LayerPrefix(const std::string& tensor) {
  for (size_t dot = tensor.find('.'); dot != tensor.npos; dot = tensor.find('.', dot + 1)) {
    const size_t end = tensor.find_first_not_of("0123456789", dot + 1);
    if (end != tensor.npos && end > dot + 1 && tensor[end] == '.') return tensor.substr(0, end + 1);
  }
  return {};
}

// In bf16, which a checkpoint made of a GGUF has.
bool SameValues(const Checkpoint& a, const StoredTensor& of_a, const Checkpoint& b,
                const StoredTensor& of_b) {
  if (of_a.shape != of_b.shape) return false;
  std::vector<uint16_t> x(static_cast<size_t>(of_a.shape.NumElements()));
  std::vector<uint16_t> y(x.size());
  return a.ReadRowsBf16(of_a, 0, of_a.rows(), x.data()).ok() &&
         b.ReadRowsBf16(of_b, 0, of_b.rows(), y.data()).ok() && x == y;
}

bool IsNumber(const Json& site, const char* key, double value) {
  const Json* number = Find(site, key);
  return number != nullptr && number->is_number() && number->get<double>() == value;
}

}  // namespace

TransformedModules TransformedModules::Find(const Checkpoint& reference, const Checkpoint& other) {
  TransformedModules found;
  const auto report = ParseJsonFile(other.path() + kReportFile, {.max_bytes = 64 << 20});
  if (report.ok() && report->is_object()) {
    found.AddReport(*report);
  } else {
    found.AddLayersByNorms(reference, other);
  }
  return found;
}

bool TransformedModules::Contains(const std::string& module) const {
  if (all_ || modules_.contains(module)) return true;
  return std::any_of(layers_.begin(), layers_.end(),
                     [&](const std::string& layer) { return module.starts_with(layer); });
}

void TransformedModules::AddReport(const Json& report) {
  if (const Json* qoq = octavo::Find(report, "qoq")) {
    const Json* transforms = octavo::Find(*qoq, "transforms");
    if (transforms != nullptr && transforms->is_array()) {
      all_ = std::any_of(transforms->begin(), transforms->end(), [](const Json& name) {
        return name != "clip" && name != "gptq";  // these choose codes for the matrix as it is
      });
    }
  }
  const Json* calibration = octavo::Find(report, "calibration");
  if (calibration == nullptr || !calibration->is_object()) return;
  const Json* layers = octavo::Find(*calibration, "layers");
  if (layers == nullptr || !layers->is_array()) return;
  for (const Json& layer : *layers) {
    const Json* sites = octavo::Find(layer, "sites");
    if (sites == nullptr || !sites->is_array()) continue;
    for (const Json& site : *sites) {
      if (IsNumber(site, "scale_min", 1) && IsNumber(site, "scale_max", 1)) continue;
      const Json* producer = octavo::Find(site, "producer");
      if (producer != nullptr && producer->is_string()) modules_.insert(producer->get<std::string>());
      const Json* consumers = octavo::Find(site, "consumers");
      if (consumers == nullptr || !consumers->is_array()) continue;
      for (const Json& consumer : *consumers) {
        if (consumer.is_string()) modules_.insert(consumer.get<std::string>());
      }
    }
  }
}

void TransformedModules::AddLayersByNorms(const Checkpoint& reference, const Checkpoint& other) {
  for (const StoredTensor& tensor : reference.tensors()) {
    const std::string layer = LayerPrefix(tensor.name);
    const bool norm = tensor.shape.rank() == 1 && tensor.name.ends_with("norm.weight");
    if (layer.empty() || !norm || (!layers_.empty() && layers_.back() == layer)) continue;
    const StoredTensor* twin = other.Find(tensor.name);
    if (twin != nullptr && !SameValues(reference, tensor, other, *twin)) layers_.push_back(layer);
  }
}

}  // namespace octavo
