// SPDX-License-Identifier: Apache-2.0
// The architecture registry: expands the list of files in models/arch/ (cmake/plugin_list.cmake).
#include "models/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace octavo {

#define OCTAVO_ARCH(stem) extern const ModelArch kArch_##stem;
#include "arch_list.inc"
#undef OCTAVO_ARCH

namespace {

constexpr std::array kArchs = {
#define OCTAVO_ARCH(stem) &kArch_##stem,
#include "arch_list.inc"
#undef OCTAVO_ARCH
};

// Whether `name` is `pattern` with digits in place of each "{}".
bool Matches(std::string_view pattern, std::string_view name) {
  while (!pattern.empty()) {
    if (pattern.starts_with("{}")) {
      const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
      if (digits == 0) return false;
      pattern.remove_prefix(2);
      name.remove_prefix(digits);
    } else {
      if (name.empty() || name.front() != pattern.front()) return false;
      pattern.remove_prefix(1);
      name.remove_prefix(1);
    }
  }
  return name.empty();
}

}  // namespace

std::span<const ModelArch* const> AllArchs() { return kArchs; }

const WeightPattern* ModelArch::Match(std::string_view tensor_name) const {
  for (const std::string_view suffix : {".weight", ".bias"}) {
    if (tensor_name.ends_with(suffix)) {
      tensor_name.remove_suffix(suffix.size());
      break;
    }
  }
  for (const WeightPattern& row : weight_map) {
    if (Matches(row.pattern, tensor_name)) return &row;
  }
  return nullptr;
}

Result<const ModelArch*> FindArch(const Json& config) {
  const Json* names = Find(config, "architectures");
  if (names == nullptr || !names->is_array() || names->empty() || !names->front().is_string()) {
    return InvalidArgument("config.json: 'architectures' is missing or not a list of names");
  }
  const std::string wanted = names->front().get<std::string>();
  std::vector<std::string_view> known;
  for (const ModelArch* arch : kArchs) {
    for (const std::string_view name : arch->hf_architectures) {
      if (name == wanted) return arch;
      known.push_back(name);
    }
  }
  return Unimplemented(fmt::format("architecture '{}' is not supported; this build has {}", wanted,
                                   fmt::join(known, ", ")));
}

}  // namespace octavo
