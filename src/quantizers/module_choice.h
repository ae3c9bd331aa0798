// SPDX-License-Identifier: Apache-2.0
// Sorts a model's linear modules by the group of the recipe that takes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/checkpoint.h"
#include "octavo/status.h"
#include "quantizers/calibration_algorithm.h"
#include "quantizers/quantize_checkpoint.h"
#include "schemes/scheme.h"

namespace octavo {

// How a module is quantized.
struct ModuleRecipe {
  const Scheme* scheme = nullptr;  // chooses the codes
  const Scheme* form = nullptr;    // stores them; differs from `scheme` with --as
  int group_size = 0;              // in use; 0 for schemes without groups
  int wanted_group_size = 0;       // differs where it did not divide
  const CalibrationAlgorithm* algorithm = nullptr;  // null: round to nearest
  std::optional<float> outlier_threshold = std::nullopt;  // LLM_INT8: another than the scheme's
  GptqOptions gptq;
  double smoothing_strength = -1;

  std::string_view algorithm_name() const {
    return algorithm == nullptr ? kRoundToNearest : algorithm->name;
  }
  // Args of the codes and of the stored form, with the group size in use.
  SchemeArgs args() const;
  SchemeArgs stored_args() const;
};

struct ModuleChoice {
  std::vector<ModuleRecipe> recipes;  // those with modules; never changes afterwards
  std::unordered_map<std::string, size_t> recipe_of;  // by module: index into `recipes`
  std::vector<std::string> modules;   // with a recipe, in file order
  std::vector<std::string> ignored;   // dense linear modules and routers, lm_head always

  // nullptr: stays dense.
  const ModuleRecipe* Find(const std::string& module) const;
};

// The recipe of `options`: options.recipe, or one group made of the single options.
QuantizeRecipe RecipeOf(const QuantizeOptions& options);

// Errors: InvalidArgument for unknown schemes and algorithms, pairs that do not go together, group sizes
// that fit no module, groups without modules, fused modules (q, k, v; gate, up) in different groups, and
// schemes that one config.json cannot name together.
Result<ModuleChoice> ChooseModules(const QuantizeOptions& options, const Checkpoint& checkpoint);

// The modules that engines fuse with `module` along the output, itself included, whether they exist or
// not: {"...q_proj", "...k_proj", "...v_proj"}. One name for modules that are never fused.
std::vector<std::string> FusedModules(const std::string& module);

}  // namespace octavo
