// SPDX-License-Identifier: Apache-2.0
// The architecture registry: expands the list of files in models/arch/ (cmake/plugin_list.cmake).
#include "models/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

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

// Whether `name` is `pattern` with digits in place of each "{}", which `numbers` gets.
bool Matches(std::string_view pattern, std::string_view name, std::vector<int64_t>& numbers) {
  numbers.clear();
  while (!pattern.empty()) {
    if (pattern.starts_with("{}")) {
      int64_t number = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
      if (error != std::errc() || name.front() == '-') return false;
      numbers.push_back(number);
      pattern.remove_prefix(2);
      name.remove_prefix(static_cast<size_t>(end - name.data()));
    } else {
      if (name.empty() || name.front() != pattern.front()) return false;
      pattern.remove_prefix(1);
      name.remove_prefix(1);
    }
  }
  return name.empty();
}

std::string_view WithoutSuffix(std::string_view tensor_name) {
  for (const std::string_view suffix : {".weight", ".bias"}) {
    if (tensor_name.ends_with(suffix)) return tensor_name.substr(0, tensor_name.size() - suffix.size());
  }
  return tensor_name;
}

}  // namespace

std::span<const ModelArch* const> AllArchs() { return kArchs; }

const WeightPattern* ModelArch::Match(std::string_view tensor_name) const {
  std::vector<int64_t> numbers;
  for (const WeightPattern& row : weight_map) {
    if (Matches(row.pattern, WithoutSuffix(tensor_name), numbers)) return &row;
  }
  return nullptr;
}

std::optional<TensorPlace> ModelArch::Locate(std::string_view tensor_name) const {
  constexpr std::string_view kRoot = "model.";
  const std::string_view name = WithoutSuffix(tensor_name);
  std::vector<int64_t> numbers;
  for (const WeightPattern& row : weight_map) {
    std::string_view bare = row.pattern;
    if (bare.starts_with(kRoot)) bare.remove_prefix(kRoot.size());
    if (!Matches(row.pattern, name, numbers) && !Matches(bare, name, numbers)) continue;
    TensorPlace place{.row = &row, .layer = {}, .expert = {}};
    if (!numbers.empty()) place.layer = numbers[0];
    if (numbers.size() > 1) place.expert = numbers[1];
    return place;
  }
  return std::nullopt;
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
