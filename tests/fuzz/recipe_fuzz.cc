// SPDX-License-Identifier: Apache-2.0
// Fuzz target: a recipe in YAML.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "quantizers/recipe_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto recipe =
      octavo::ParseRecipe(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
  if (recipe.ok() && recipe->groups.empty()) std::abort();
  return 0;
}
