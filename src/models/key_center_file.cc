// SPDX-License-Identifier: Apache-2.0
// Centers of keys as JSON.
#include "models/key_center_file.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "base/json.h"

namespace octavo {
namespace {

constexpr const char* kKey = "key_center";

Result<std::vector<float>> ParseCenter(const std::string& path, const std::string& module,
                                       const Json& values) {
  std::vector<float> center;
  if (!values.is_array()) {
    return DataLoss(fmt::format("{}: '{}' is {}, want a list of numbers", path, module, values.type_name()));
  }
  for (const Json& value : values) {
    const auto number = value.is_number() ? value.get<float>() : NAN;
    if (!std::isfinite(number)) {
      return DataLoss(fmt::format("{}: '{}' holds {}, want finite numbers", path, module, DumpJson(value)));
    }
    center.push_back(number);
  }
  return center;
}

}  // namespace

std::string FormatKeyCenters(const KeyCenters& centers) {
  return DumpJson(Json{{kKey, centers}}) + "\n";
}

Result<KeyCenters> ReadKeyCenters(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return KeyCenters();
  OCTAVO_ASSIGN_OR_RETURN(const Json json, ParseJsonFile(path));
  const Json* modules = Find(json, kKey);
  if (modules == nullptr) return KeyCenters();
  if (!modules->is_object()) {
    return DataLoss(fmt::format("{}: '{}' is {}, want an object", path, kKey, modules->type_name()));
  }
  KeyCenters centers;
  for (const auto& [module, values] : modules->items()) {
    OCTAVO_ASSIGN_OR_RETURN(centers[module], ParseCenter(path, module, values));
  }
  return centers;
}

}  // namespace octavo
