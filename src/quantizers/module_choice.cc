// SPDX-License-Identifier: Apache-2.0
// Resolves schemes, matches modules, picks group sizes.
#include "quantizers/module_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "schemes/module_matcher.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

constexpr std::string_view kHead = "lm_head";

// Last components of modules that engines load as one matrix.
constexpr std::array<std::array<std::string_view, 3>, 3> kFused = {{
    {"q_proj", "k_proj", "v_proj"},
    {"gate_proj", "up_proj", ""},
    {"w1", "w3", ""},
}};

// "X has N columns" for the first module that `size` does not divide; empty if there is none.
std::string Offender(const Checkpoint& checkpoint, const std::vector<std::string>& modules, int size) {
  for (const std::string& module : modules) {
    const StoredTensor* tensor = checkpoint.Find(module + ".weight");
    if (tensor != nullptr && tensor->cols() % size != 0) {
      return fmt::format("{} has {} columns", module, tensor->cols());
    }
  }
  return "";
}

Result<const Scheme*> FindWritable(const std::string& name) {
  const Scheme* scheme = FindScheme(name);
  if (scheme != nullptr && scheme->writable()) return scheme;
  return InvalidArgument(fmt::format("scheme '{}': {} (want one of {})", name,
                                     scheme == nullptr ? "unknown" : "cannot be written",
                                     WritableSchemeNames()));
}

// All of a recipe that needs no modules.
Result<ModuleRecipe> Resolve(const RecipeGroup& group, const std::string& as) {
  ModuleRecipe recipe;
  OCTAVO_ASSIGN_OR_RETURN(recipe.scheme, FindWritable(group.scheme));
  recipe.form = recipe.scheme;
  recipe.gptq = group.gptq;
  recipe.smoothing_strength = group.smoothing_strength;
  if (!as.empty() && as != group.scheme) {
    if (as != "W8A8" || recipe.scheme->to_w8a8 == nullptr) {
      return InvalidArgument(fmt::format("scheme {} cannot be stored as '{}'", group.scheme, as));
    }
    recipe.form = FindScheme("W8A8");
  }
  if (group.algorithm == kRoundToNearest) return recipe;
  recipe.algorithm = FindCalibrationAlgorithm(group.algorithm);
  if (recipe.algorithm == nullptr) {
    return InvalidArgument(fmt::format("algorithm '{}': unknown", group.algorithm));
  }
  OCTAVO_RETURN_IF_ERROR(recipe.algorithm->Accepts(*recipe.scheme));
  return recipe;
}

Status ChooseGroup(const RecipeGroup& group, const Checkpoint& checkpoint, bool strict,
                   const std::vector<std::string>& modules, ModuleRecipe& recipe) {
  const Scheme& scheme = *recipe.scheme;
  if (scheme.args.weights.strategy != Strategy::kGroup) {
    if (group.group_size == 0) return Status::Ok();
    return InvalidArgument(fmt::format("scheme {} has no groups, but a group size of {} is given",
                                       scheme.name, group.group_size));
  }
  const int wanted = group.group_size == 0 ? scheme.args.weights.group_size : group.group_size;
  if (wanted < 16 || wanted > (1 << 16) || wanted % 16 != 0) {
    return InvalidArgument(fmt::format("group size {}, want a multiple of 16", wanted));
  }
  recipe.wanted_group_size = wanted;
  recipe.group_size = ChooseGroupSize(checkpoint, modules, wanted);
  if (recipe.group_size == wanted) return Status::Ok();
  if (!strict && recipe.group_size != 0) return Status::Ok();
  return InvalidArgument(fmt::format(
      "group size {} does not divide every layer: {}{}", wanted,
      Offender(checkpoint, modules, wanted),
      recipe.group_size == 0 ? "; nor do 128, 64 and 32"
                             : fmt::format("; {} would", recipe.group_size)));
}

// Activations of block schemes have a scale per 128 columns too, and other engines cannot cut them.
Status CheckBlocks(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                   const ModuleRecipe& recipe) {
  const QuantArgs& args = recipe.scheme->args.weights;
  if (args.strategy != Strategy::kBlock) return Status::Ok();
  const std::string offender = Offender(checkpoint, modules, args.block_cols);
  if (offender.empty()) return Status::Ok();
  return InvalidArgument(fmt::format("scheme {} wants columns in multiples of {}: {}",
                                     recipe.scheme->name, args.block_cols, offender));
}

// Matches modules against the groups of a recipe.
class GroupMatcher {
 public:
  static Result<GroupMatcher> Compile(const QuantizeRecipe& recipe) {
    GroupMatcher matcher;
    for (const RecipeGroup& group : recipe.groups) {
      Compiled& compiled = matcher.groups_.emplace_back();
      OCTAVO_ASSIGN_OR_RETURN(compiled.targets, ModuleMatcher::Compile(group.targets));
      OCTAVO_ASSIGN_OR_RETURN(compiled.ignore, ModuleMatcher::Compile(group.ignore));
    }
    return matcher;
  }

  // The index of the group that takes a module; none: groups.size().
  Result<size_t> Find(const std::string& module) const {
    using Match = ModuleMatcher::Match;
    size_t found = groups_.size();
    Match best = Match::kNone;
    for (size_t i = 0; i < groups_.size(); ++i) {
      OCTAVO_ASSIGN_OR_RETURN(const Match match, groups_[i].targets.Find(module, "Linear"));
      if (match <= best) continue;
      OCTAVO_ASSIGN_OR_RETURN(const Match ignored, groups_[i].ignore.Find(module, "Linear"));
      if (ignored != Match::kNone) continue;
      best = match;
      found = i;
    }
    return found;
  }

 private:
  struct Compiled {
    ModuleMatcher targets;
    ModuleMatcher ignore;
  };
  std::vector<Compiled> groups_;
};

std::string Describe(const ModuleRecipe* recipe) {
  if (recipe == nullptr) return "dense";
  return fmt::format("{} by {}", recipe->scheme->name, recipe->algorithm_name());
}

// Engines run fused modules as one matrix with one kind of activations.
Status CheckFused(const Checkpoint& checkpoint, const ModuleChoice& choice) {
  for (const std::string& module : choice.modules) {
    const ModuleRecipe* recipe = choice.Find(module);
    for (const std::string& sibling : FusedModules(module)) {
      if (choice.Find(sibling) == recipe || checkpoint.Find(sibling + ".weight") == nullptr) continue;
      return InvalidArgument(fmt::format(
          "{} is {}, but {} is {}: engines (Octavo, vLLM) fuse the two into one matrix, so they must "
          "be quantized alike",
          module, Describe(recipe), sibling, Describe(choice.Find(sibling))));
    }
  }
  return Status::Ok();
}

// One config.json has one quant_method, and only compressed-tensors' has several groups.
Status CheckMethods(const ModuleChoice& choice) {
  if (choice.recipes.empty()) return Status::Ok();
  const ModuleRecipe& first = choice.recipes.front();
  for (const ModuleRecipe& recipe : choice.recipes) {
    const bool same = recipe.form == first.form && recipe.group_size == first.group_size;
    const bool groups = recipe.form->method == "compressed-tensors";
    if (same || (groups && recipe.form->method == first.form->method)) continue;
    return InvalidArgument(fmt::format(
        "schemes {} and {} cannot share a checkpoint: they are stored by the methods {} and {}",
        first.form->name, recipe.form->name, first.form->method, recipe.form->method));
  }
  return Status::Ok();
}

// Fills `choice` and says which modules each group of the recipe has.
Status SortModules(const QuantizeRecipe& recipe, const Checkpoint& checkpoint,
                   std::vector<std::vector<std::string>>& modules, ModuleChoice& choice) {
  OCTAVO_ASSIGN_OR_RETURN(const GroupMatcher matcher, GroupMatcher::Compile(recipe));
  modules.assign(recipe.groups.size(), {});
  choice.ignored = {std::string(kHead)};  // also listed when tied, as llm-compressor does
  for (const std::string& module : LinearModules(checkpoint)) {
    if (module == kHead) continue;
    OCTAVO_ASSIGN_OR_RETURN(const size_t group, matcher.Find(module));
    if (group == recipe.groups.size() || recipe.groups[group].scheme == kScheme_dense.name) {
      choice.ignored.push_back(module);
    } else {
      modules[group].push_back(module);
      choice.modules.push_back(module);
    }
  }
  for (std::string& module : RouterModules(checkpoint)) choice.ignored.push_back(std::move(module));
  if (!choice.modules.empty()) return Status::Ok();
  return InvalidArgument(
      fmt::format("{}: no linear layer is left to quantize", checkpoint.path()));
}

// A threshold and kept columns are LLM.int8()'s; a checkpoint has one threshold.
Status SetOutliers(const QuantizeOptions& options, ModuleChoice& choice) {
  const bool given = options.outlier_threshold.has_value() || !options.kept_columns.empty();
  for (ModuleRecipe& recipe : choice.recipes) {
    if (recipe.scheme->args.outlier_threshold > 0) {
      recipe.outlier_threshold = options.outlier_threshold;
    } else if (given) {
      return InvalidArgument(fmt::format("scheme {} has no outliers: a threshold and kept columns are "
                                         "LLM_INT8's", recipe.scheme->name));
    }
  }
  return Status::Ok();
}

}  // namespace

SchemeArgs ModuleRecipe::args() const {
  SchemeArgs args = scheme->args;
  if (group_size != 0) args.weights.group_size = group_size;
  if (outlier_threshold) args.outlier_threshold = *outlier_threshold;
  return args;
}

SchemeArgs ModuleRecipe::stored_args() const { return form == scheme ? args() : form->args; }

const ModuleRecipe* ModuleChoice::Find(const std::string& module) const {
  const auto it = recipe_of.find(module);
  return it == recipe_of.end() ? nullptr : &recipes[it->second];
}

std::vector<std::string> FusedModules(const std::string& module) {
  const size_t stem = module.rfind('.') + 1;  // 0 without a dot
  const std::string_view last = std::string_view(module).substr(stem);
  for (const auto& names : kFused) {
    if (last.empty() || std::find(names.begin(), names.end(), last) == names.end()) continue;
    std::vector<std::string> fused;
    for (const std::string_view name : names) {
      if (!name.empty()) fused.push_back(module.substr(0, stem) + std::string(name));
    }
    return fused;
  }
  return {module};
}

QuantizeRecipe RecipeOf(const QuantizeOptions& options) {
  if (options.recipe != nullptr) return *options.recipe;
  RecipeGroup group{.name = {},
                    .ignore = {},
                    .scheme = options.scheme,
                    .group_size = options.group_size,
                    .algorithm = options.algorithm,
                    .gptq = {.damping = options.damping, .act_order = options.act_order},
                    .smoothing_strength = options.smoothing_strength};
  for (const std::string& pattern : options.ignore) {
    group.ignore.push_back(pattern.starts_with("re:") ? pattern : "re:" + pattern);
  }
  return {.groups = {std::move(group)}, .source = {}};
}

Result<ModuleChoice> ChooseModules(const QuantizeOptions& options, const Checkpoint& checkpoint) {
  const QuantizeRecipe recipe = RecipeOf(options);
  ModuleChoice choice;
  std::vector<std::vector<std::string>> modules;
  // Names are checked before modules, so that a typo is not reported as something else.
  std::vector<ModuleRecipe> resolved(recipe.groups.size());
  const auto in_group = [&](size_t i, Status status) {
    return recipe.groups[i].name.empty() ? status : std::move(status).WithContext(recipe.groups[i].name);
  };
  for (size_t i = 0; i < recipe.groups.size(); ++i) {
    if (recipe.groups[i].scheme == kScheme_dense.name) continue;
    auto found = Resolve(recipe.groups[i], options.as);
    if (!found.ok()) return in_group(i, std::move(found).status());
    resolved[i] = *found;
  }
  OCTAVO_RETURN_IF_ERROR(SortModules(recipe, checkpoint, modules, choice));
  for (size_t i = 0; i < recipe.groups.size(); ++i) {
    if (recipe.groups[i].scheme == kScheme_dense.name) continue;
    if (modules[i].empty()) {
      return in_group(i, InvalidArgument(fmt::format("no linear layer of the model is in the group of '{}'",
                                                     fmt::join(recipe.groups[i].targets, "', '"))));
    }
    Status status = ChooseGroup(recipe.groups[i], checkpoint, options.strict, modules[i], resolved[i]);
    if (status.ok()) status = CheckBlocks(checkpoint, modules[i], resolved[i]);
    if (!status.ok()) return in_group(i, std::move(status));
    for (const std::string& module : modules[i]) choice.recipe_of[module] = choice.recipes.size();
    choice.recipes.push_back(resolved[i]);
  }
  OCTAVO_RETURN_IF_ERROR(CheckMethods(choice));
  OCTAVO_RETURN_IF_ERROR(SetOutliers(options, choice));
  OCTAVO_RETURN_IF_ERROR(CheckFused(checkpoint, choice));
  return choice;
}

}  // namespace octavo
