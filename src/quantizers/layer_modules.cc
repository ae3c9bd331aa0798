// SPDX-License-Identifier: Apache-2.0
// Matches tensor names against the architecture's weight map.
#include "quantizers/layer_modules.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace octavo {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string ModuleOf(const std::string& tensor) {
  return tensor.substr(0, tensor.size() - kWeight.size());
}

// A candidate for the producing side: norms and linears of a layer.
struct Producer {
  std::string module;
  std::string role;
  std::optional<int64_t> expert;
  int64_t outputs = 0;
  bool norm = false;
};

bool Contains(const std::vector<std::string_view>& slots, const std::string& role) {
  return std::find(slots.begin(), slots.end(), role) != slots.end();
}

void AddSites(const ModelArch& arch, const std::vector<Producer>& producers, LayerModules& layer) {
  for (const SmoothingSite& site : arch.smoothing) {
    for (const Producer& producer : producers) {
      if (producer.role != site.producer) continue;
      // A linear's rows are scaled while they are quantized; one that stays dense is left alone.
      const LayerModule* linear = layer.Find(producer.module);
      if (!producer.norm && (linear == nullptr || !linear->quantized())) continue;
      LayerSite found{
          .producer = producer.module, .norm = producer.norm, .consumers = {}, .partners = {}};
      bool fits = true;
      for (size_t i = 0; i < layer.modules.size(); ++i) {
        const LayerModule& module = layer.modules[i];
        if (producer.expert && module.expert != producer.expert) continue;
        if (Contains(site.partners, module.role)) found.partners.push_back(i);
        if (!Contains(site.consumers, module.role)) continue;
        fits = fits && module.tensor->cols() == producer.outputs;
        found.consumers.push_back(i);
      }
      const bool any = std::any_of(found.consumers.begin(), found.consumers.end(),
                                   [&](size_t i) { return layer.modules[i].quantized(); });
      if (fits && any) layer.sites.push_back(std::move(found));
    }
  }
}

}  // namespace

const CalibrationAlgorithm& LayerModule::algorithm() const {
  static constexpr CalibrationAlgorithm kNone{.name = kRoundToNearest, .summary = {}};
  return quantized() && recipe().algorithm != nullptr ? *recipe().algorithm : kNone;
}

bool LayerModules::quantized() const {
  return std::any_of(modules.begin(), modules.end(),
                     [](const LayerModule& module) { return module.quantized(); });
}

const LayerModule* LayerModules::Find(const std::string& name) const {
  const auto it = std::find_if(modules.begin(), modules.end(),
                               [&](const LayerModule& module) { return module.name == name; });
  return it == modules.end() ? nullptr : &*it;
}

Result<std::vector<LayerModules>> FindLayerModules(const ModelArch& arch, const ModelConfig& config,
                                                   const Checkpoint& checkpoint,
                                                   const QuantizePlan& plan) {
  std::unordered_map<std::string_view, const PlannedTensor*> planned;
  for (const PlannedShard& shard : plan.shards) {
    for (const PlannedTensor& tensor : shard.tensors) planned[tensor.source->name] = &tensor;
  }
  std::vector<LayerModules> layers(static_cast<size_t>(config.num_layers));
  std::vector<std::vector<Producer>> producers(layers.size());
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (!tensor.name.ends_with(kWeight)) continue;
    const std::optional<TensorPlace> place = arch.Locate(tensor.name);
    if (!place || !place->layer || *place->layer >= config.num_layers) continue;
    const auto index = static_cast<size_t>(*place->layer);
    const bool matrix = tensor.shape.rank() == 2;
    producers[index].push_back({.module = ModuleOf(tensor.name),
                                .role = std::string(place->row->slot),
                                .expert = place->expert,
                                .outputs = tensor.rows(),
                                .norm = !matrix});
    if (!matrix) continue;
    layers[index].modules.push_back({.name = ModuleOf(tensor.name),
                                     .role = std::string(place->row->slot),
                                     .expert = place->expert,
                                     .tensor = &tensor,
                                     .planned = planned[tensor.name]});
  }
  const bool smooth = arch.can_smooth == nullptr || arch.can_smooth(config);
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i].layer = static_cast<int64_t>(i);
    if (smooth) AddSites(arch, producers[i], layers[i]);
  }
  if (std::any_of(layers.begin(), layers.end(),
                  [](const LayerModules& layer) { return layer.quantized(); })) {
    return layers;
  }
  return FailedPrecondition(
      fmt::format("{}: no layer has a module to quantize", checkpoint.path()));
}

}  // namespace octavo
