// SPDX-License-Identifier: Apache-2.0
// One uniform plan per candidate, and modules gathered into units.
#include "quantizers/sensitivity_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "quantizers/layer_modules.h"

namespace octavo {
namespace {

constexpr double kMeasuredBits = 6;  // candidates below are measured, others scaled

// Name of the unit of a module and whether it is an expert's.
std::string UnitOf(const LayerModule& module) {
  if (module.expert) {
    const size_t at = module.name.find("experts");
    return module.name.substr(0, at) + "experts";
  }
  const std::vector<std::string> fused = FusedModules(module.name);
  std::string name = fused.front();
  for (size_t i = 1; i < fused.size(); ++i) name += "+" + fused[i].substr(fused[i].rfind('.') + 1);
  return name;
}

}  // namespace

Result<SensitivityPlan> SensitivityPlan::Create(const SensitivityOptions& options,
                                                const Checkpoint& checkpoint, const ModelArch& arch,
                                                const ModelConfig& config) {
  SensitivityPlan plan;
  OCTAVO_RETURN_IF_ERROR(plan.MakePlans(options, checkpoint));
  OCTAVO_RETURN_IF_ERROR(plan.MakeUnits(checkpoint, arch, config));
  return plan;
}

const PlannedTensor* SensitivityPlan::Find(size_t candidate, const std::string& module) const {
  const auto it = planned_.find({candidate, module});
  return it == planned_.end() ? nullptr : it->second;
}

Status SensitivityPlan::MakePlans(const SensitivityOptions& options, const Checkpoint& checkpoint) {
  for (const std::string& candidate : options.candidates) {
    const auto& known = sensitivity_.candidates;
    if (std::find(known.begin(), known.end(), candidate) != known.end()) {
      return InvalidArgument(fmt::format("candidate {} is given twice", candidate));
    }
    sensitivity_.candidates.push_back(candidate);
    sensitivity_.group_sizes.push_back(0);
    plans_.emplace_back();
    if (candidate == kScheme_dense.name) continue;
    const Scheme* scheme = FindScheme(candidate);
    const bool grouped =
        scheme != nullptr && scheme->args.weights.strategy == Strategy::kGroup;
    QuantizeOptions uniform;
    uniform.model = options.model;
    uniform.scheme = candidate;
    uniform.ignore = options.ignore;
    uniform.group_size = grouped ? options.group_size : 0;
    auto plan = MakeQuantizePlan(uniform, checkpoint);
    if (!plan.ok()) return std::move(plan).status().WithContext("candidate " + candidate);
    if (plan->choice.recipes.front().form->method != "compressed-tensors") {
      return InvalidArgument(fmt::format(
          "candidate {} is stored by the method {} and cannot share a checkpoint", candidate,
          plan->choice.recipes.front().form->method));
    }
    sensitivity_.group_sizes.back() = plan->summary.group_size;
    plans_.back() = *std::move(plan);
  }
  return Status::Ok();
}

Status SensitivityPlan::MakeUnits(const Checkpoint& checkpoint, const ModelArch& arch,
                                const ModelConfig& config) {
  const auto plan = std::find_if(plans_.begin(), plans_.end(),
                                 [](const QuantizePlan& p) { return !p.shards.empty(); });
  if (plan == plans_.end()) return InvalidArgument("no candidate quantizes anything");
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<LayerModules> layers,
                          FindLayerModules(arch, config, checkpoint, *plan));
  const size_t count = plans_.size();
  for (const LayerModules& layer : layers) {
    std::map<std::string, size_t> index;
    for (const LayerModule& module : layer.modules) {
      if (!module.quantized()) continue;
      const std::string name = UnitOf(module);
      const auto [it, added] = index.emplace(name, sensitivity_.units.size());
      if (added) {
        SensitivityUnit& unit = sensitivity_.units.emplace_back();
        unit.name = name;
        unit.layer = layer.layer;
        unit.bits.assign(count, 0);
        unit.error.assign(count, 0);
        unit.kl.assign(count, 0);
      }
      SensitivityUnit& unit = sensitivity_.units[it->second];
      unit.modules.push_back(module.name);
      unit.weights += static_cast<double>(module.tensor->shape.NumElements());
    }
  }
  for (size_t i = 0; i < count; ++i) AddBits(i);
  return Status::Ok();
}

void SensitivityPlan::AddBits(size_t candidate) {
  std::unordered_map<std::string, double> bits;
  for (const PlannedShard& shard : plans_[candidate].shards) {
    for (const PlannedTensor& tensor : shard.tensors) {
      if (!tensor.module) continue;
      planned_[{candidate, tensor.module->name}] = &tensor;
      bits[tensor.module->name] = 8.0 * static_cast<double>(BytesOfSpecs(tensor.outputs));
    }
  }
  for (SensitivityUnit& unit : sensitivity_.units) {
    if (bits.empty()) unit.bits[candidate] = 16 * unit.weights;
    for (const std::string& module : unit.modules) {
      if (!bits.empty()) unit.bits[candidate] += bits.at(module);
    }
  }
}

bool SensitivityPlan::IsMeasured(const SensitivityUnit& unit, size_t candidate) const {
  if (plans_[candidate].shards.empty()) return false;
  if (unit.bits[candidate] < kMeasuredBits * unit.weights) return true;
  // Without such candidates the coarsest stands in.
  for (size_t i = 0; i < plans_.size(); ++i) {
    if (plans_[i].shards.empty() || i == candidate) continue;
    if (unit.bits[i] < unit.bits[candidate] || (unit.bits[i] == unit.bits[candidate] && i < candidate)) {
      return false;
    }
  }
  return true;
}

}  // namespace octavo
