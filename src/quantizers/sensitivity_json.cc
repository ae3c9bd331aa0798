// SPDX-License-Identifier: Apache-2.0
// Sensitivities as JSON and back.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "quantizers/sensitivity.h"

namespace octavo {
namespace {

// A list of numbers, none negative or not finite, one per candidate.
Result<std::vector<double>> Numbers(const Json& json, std::string_view key, size_t count) {
  const Json* list = Find(json, key);
  if (list == nullptr || !list->is_array() || list->size() != count) {
    return DataLoss(fmt::format("'{}': want a list of {} numbers", key, count));
  }
  std::vector<double> numbers;
  for (const Json& item : *list) {
    const double value = item.is_number() ? item.get<double>() : -1;
    if (!(value >= 0) || !std::isfinite(value)) {
      return DataLoss(fmt::format("'{}' holds {}, want numbers from 0", key, DumpJson(item)));
    }
    numbers.push_back(value);
  }
  return numbers;
}

Result<std::vector<std::string>> Strings(const Json& json, std::string_view key) {
  const Json* list = Find(json, key);
  if (list == nullptr || !list->is_array() || list->empty()) {
    return DataLoss(fmt::format("'{}': want a list of names", key));
  }
  std::vector<std::string> strings;
  for (const Json& item : *list) {
    if (!item.is_string()) return DataLoss(fmt::format("'{}': want names", key));
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

Result<SensitivityUnit> ParseUnit(const Json& json, size_t candidates) {
  SensitivityUnit unit;
  OCTAVO_ASSIGN_OR_RETURN(unit.name, GetString(json, "name"));
  OCTAVO_ASSIGN_OR_RETURN(unit.layer, GetInt(json, "layer", 0, 1 << 20));
  OCTAVO_ASSIGN_OR_RETURN(unit.modules, Strings(json, "modules"));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t weights,
                          GetInt(json, "weights", 1, std::numeric_limits<int64_t>::max()));
  unit.weights = static_cast<double>(weights);
  OCTAVO_ASSIGN_OR_RETURN(unit.bits, Numbers(json, "bits", candidates));
  OCTAVO_ASSIGN_OR_RETURN(unit.error, Numbers(json, "error", candidates));
  OCTAVO_ASSIGN_OR_RETURN(unit.kl, Numbers(json, "kl", candidates));
  return unit;
}

}  // namespace

Json ToJson(const Sensitivity& sensitivity) {
  Json units = Json::array();
  for (const SensitivityUnit& unit : sensitivity.units) {
    units.push_back({{"name", unit.name},
                     {"layer", unit.layer},
                     {"modules", unit.modules},
                     {"weights", static_cast<int64_t>(unit.weights)},
                     {"bits", unit.bits},
                     {"error", unit.error},
                     {"kl", unit.kl}});
  }
  return {{"candidates", sensitivity.candidates},
          {"group_sizes", sensitivity.group_sizes},
          {"num_tokens", sensitivity.num_tokens},
          {"source", sensitivity.source},
          {"fingerprint", sensitivity.fingerprint},
          {"units", std::move(units)}};
}

Result<Sensitivity> ParseSensitivity(const Json& json) {
  Sensitivity sensitivity;
  OCTAVO_ASSIGN_OR_RETURN(sensitivity.candidates, Strings(json, "candidates"));
  const size_t count = sensitivity.candidates.size();
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<double> sizes, Numbers(json, "group_sizes", count));
  for (const double size : sizes) {
    if (size > 1 << 16) return DataLoss("'group_sizes': want at most 65536");
    sensitivity.group_sizes.push_back(static_cast<int>(size));
  }
  OCTAVO_ASSIGN_OR_RETURN(sensitivity.num_tokens, GetInt(json, "num_tokens", 1));
  OCTAVO_ASSIGN_OR_RETURN(sensitivity.source, GetString(json, "source"));
  OCTAVO_ASSIGN_OR_RETURN(sensitivity.fingerprint, GetString(json, "fingerprint"));
  const Json* units = Find(json, "units");
  if (units == nullptr || !units->is_array() || units->empty()) return DataLoss("'units': want a list");
  for (const Json& item : *units) {
    OCTAVO_ASSIGN_OR_RETURN(SensitivityUnit unit, ParseUnit(item, count));
    sensitivity.units.push_back(std::move(unit));
  }
  return sensitivity;
}

}  // namespace octavo
