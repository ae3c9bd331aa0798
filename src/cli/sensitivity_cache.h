// SPDX-License-Identifier: Apache-2.0
// Measurements of `--scheme auto` that outlive their run: for --resume, and for other budgets.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "octavo/status.h"
#include "quantizers/sensitivity.h"

namespace octavo {

// What was measured of one model on one text, for one list of candidates: all that the fingerprint
// says (SensitivityMeter::fingerprint).
struct SensitivityMeasurements {
  std::optional<Sensitivity> sensitivity;
  std::map<std::vector<int>, double> mixes;  // divergence by candidate of each unit
};

// A JSON file that holds them under the SHA-256 of their fingerprint.
class SensitivityCache {
 public:
  // OUTPUT.sensitivity.json, kept while the run is unfinished; what a finished OUTPUT says serves, too.
  SensitivityCache(std::string output, const std::string& fingerprint);

  // What is known under the fingerprint; nothing where there is no file, or one that does not fit.
  SensitivityMeasurements Load() const;

  Status Save(const SensitivityMeasurements& measurements) const;

  // The file; superfluous when OUTPUT is there, which says the same.
  const std::string& path() const { return path_; }

 private:
  SensitivityMeasurements LoadFrom(const std::string& path) const;

  const std::string output_;
  const std::string path_;
  const std::string fingerprint_;
};

// "mixes" of a report or a cache file. Inverse: ParseMixes, which leaves out what does not fit `units`
// units and `candidates` candidates.
Json MixesJson(const std::map<std::vector<int>, double>& mixes);
std::map<std::vector<int>, double> ParseMixes(const Json& json, size_t units, size_t candidates);

}  // namespace octavo
