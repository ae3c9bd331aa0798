// SPDX-License-Identifier: Apache-2.0
// Short lists of patterns for sets of module names: the inverse of ModuleMatcher.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <vector>

namespace octavo {

// Names that differ in numbers only ("model.layers.7.mlp.up_proj") become one expression
// ("re:model\.layers\.\d+\.mlp\.up_proj$") where they are all in the same set. Where they are not, all but
// the first number (the layer's) are tried, so that a layer's experts still share one, and then names.
class ModuleFolder {
 public:
  // `sets`: module names, each in one set only.
  explicit ModuleFolder(std::vector<std::vector<std::string>> sets);

  // Patterns that match the names of one set, and none of another's, in order of first appearance.
  std::vector<std::string> Patterns(size_t set) const;

 private:
  const std::vector<std::vector<std::string>> sets_;
  std::unordered_map<std::string, std::vector<bool>> sets_of_;  // by pattern: sets with such names
};

}  // namespace octavo
