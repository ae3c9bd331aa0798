// SPDX-License-Identifier: Apache-2.0
// Which modules of a model are quantized in which scheme and by which algorithm.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "quantizers/gptq.h"

namespace octavo {

inline constexpr std::string_view kRoundToNearest = "rtn";

// Modules that are treated alike.
struct RecipeGroup {
  std::string name;  // for messages: "config_groups group_0, line 12"; may be empty
  // Exact names, "re:" expressions matched at the start of the name, or the class "Linear". As in
  // compressed-tensors a match by name wins over one by expression, that over one by class; among equal
  // ones the first group wins.
  std::vector<std::string> targets = {"Linear"};
  // The same kinds of patterns: modules that are not of this group whatever its targets say.
  std::vector<std::string> ignore;
  std::string scheme;  // "W4A16"; "dense" keeps the modules in 16 bit
  int group_size = 0;  // 0: the scheme's own
  std::string algorithm = std::string(kRoundToNearest);  // calibration_algorithm.h
  GptqOptions gptq;
  double smoothing_strength = -1;  // SmoothQuant's alpha; below 0: the family's own
};

// Modules that no group takes stay dense, as do the output head and routers of experts.
struct QuantizeRecipe {
  std::vector<RecipeGroup> groups;
  Json source;  // what the user wrote, for reports; null for recipes from single options
};

}  // namespace octavo
