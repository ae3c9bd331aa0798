// SPDX-License-Identifier: Apache-2.0
// Reads and writes the cache file.
#include "cli/sensitivity_cache.h"

#include <cmath>
#include <utility>

#include "base/file.h"

namespace octavo {
namespace {

constexpr size_t kMaxBytes = size_t{64} << 20;

}  // namespace

SensitivityCache::SensitivityCache(std::string output, const std::string& fingerprint)
    : output_(std::move(output)), path_(output_ + ".sensitivity.json"), fingerprint_(fingerprint) {}

SensitivityMeasurements SensitivityCache::Load() const {
  if (output_.empty()) return {};
  SensitivityMeasurements found = LoadFrom(path_);
  return found.sensitivity ? found : LoadFrom(output_ + "/octavo_sensitivity.json");
}

SensitivityMeasurements SensitivityCache::LoadFrom(const std::string& path) const {
  SensitivityMeasurements found;
  const auto json = ParseJsonFile(path, {.max_bytes = kMaxBytes});
  if (!json.ok()) return found;
  auto parsed = ParseSensitivity(*json);
  if (!parsed.ok() || parsed->fingerprint != fingerprint_) return found;
  found.mixes = ParseMixes(*json, parsed->units.size(), parsed->candidates.size());
  found.sensitivity = *std::move(parsed);
  return found;
}

Status SensitivityCache::Save(const SensitivityMeasurements& measurements) const {
  if (output_.empty() || !measurements.sensitivity) return Status::Ok();
  Json json = ToJson(*measurements.sensitivity);
  json["mixes"] = MixesJson(measurements.mixes);
  return WriteFileAtomically(path_, DumpJson(json, 1) + "\n");
}

Json MixesJson(const std::map<std::vector<int>, double>& mixes) {
  Json json = Json::array();
  for (const auto& [choice, kl] : mixes) json.push_back({{"choice", choice}, {"kl", kl}});
  return json;
}

std::map<std::vector<int>, double> ParseMixes(const Json& json, size_t units, size_t candidates) {
  std::map<std::vector<int>, double> mixes;
  const Json* list = Find(json, "mixes");
  if (list == nullptr || !list->is_array()) return mixes;
  for (const Json& item : *list) {
    const Json* choice = Find(item, "choice");
    const Json* kl = Find(item, "kl");
    if (choice == nullptr || !choice->is_array() || choice->size() != units) continue;
    if (kl == nullptr || !kl->is_number() || !std::isfinite(kl->get<double>())) continue;
    std::vector<int> numbers;
    for (const Json& number : *choice) {
      const int64_t value = number.is_number_integer() ? number.get<int64_t>() : -1;
      if (value >= 0 && value < static_cast<int64_t>(candidates)) {
        numbers.push_back(static_cast<int>(value));
      }
    }
    if (numbers.size() == units) mixes[numbers] = kl->get<double>();
  }
  return mixes;
}

}  // namespace octavo
