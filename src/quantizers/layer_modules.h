// SPDX-License-Identifier: Apache-2.0
// The linear modules of one layer and the places where scale may pass between them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "models/model.h"
#include "octavo/status.h"
#include "quantizers/quantize_plan.h"

namespace octavo {

struct LayerModule {
  std::string name;     // "model.layers.3.self_attn.q_proj"
  std::string role;     // slot of the weight map: "q_proj"
  std::optional<int64_t> expert;
  const StoredTensor* tensor = nullptr;   // its weight
  const PlannedTensor* planned = nullptr;  // what becomes of it; planned->module: quantized

  bool quantized() const { return planned != nullptr && planned->module.has_value(); }
  const ModuleRecipe& recipe() const { return *planned->recipe; }  // if quantized
  const Scheme& scheme() const { return *recipe().scheme; }
  // One that does nothing for modules that are rounded to nearest or stay dense.
  const CalibrationAlgorithm& algorithm() const;
};

// A SmoothingSite of the architecture in one layer (and, where both sides belong to one, an expert).
struct LayerSite {
  std::string producer;  // module name of the norm or linear
  bool norm = false;
  std::vector<size_t> consumers;  // indices into LayerModules::modules
  std::vector<size_t> partners;   // SmoothingSite::partners, of the same expert
};

struct LayerModules {
  int64_t layer = 0;
  std::vector<LayerModule> modules;
  std::vector<LayerSite> sites;

  bool quantized() const;  // any of its modules

  // nullptr when the layer has no such module.
  const LayerModule* Find(const std::string& name) const;
};

// Sorts the checkpoint's matrices by layer. Sites whose sides do not fit each other (v and o under
// grouped-query attention) or are not there are left out.
// Errors: FailedPrecondition when no layer of the config has a module that the plan quantizes.
Result<std::vector<LayerModules>> FindLayerModules(const ModelArch& arch, const ModelConfig& config,
                                                   const Checkpoint& checkpoint,
                                                   const QuantizePlan& plan);

}  // namespace octavo
