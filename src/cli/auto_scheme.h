// SPDX-License-Identifier: Apache-2.0
// `octavo quantize --scheme auto`: measures how much each part of a model minds each candidate, and
// chooses for a size or a quality.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"
#include "quantizers/quantize_checkpoint.h"

namespace octavo {

inline constexpr const char* kAutoScheme = "auto";

struct AutoSchemeOptions {
  double bits_per_weight = 0;  // 0: --max-kld decides
  std::vector<std::string> candidates = {"W3A16", "W4A16", "W8A16", "BF16"};
  int64_t tokens = 512;
  std::string sensitivity;  // file of an earlier run to use
};

// Adds --bits-per-weight, --candidates, --sensitivity-tokens and --sensitivity.
void AddAutoSchemeOptions(CLI::App& app, AutoSchemeOptions& options);

// What was measured and chosen.
struct AutoScheme {
  Json report;           // octavo_sensitivity.json
  std::string markdown;  // .md
  std::string svg;       // .svg
  std::string cache;     // file that the checkpoint makes superfluous
};

// Sets quantize.recipe. quantize.calibration holds the text to measure on; `max_kld` as --max-kld, 0: none.
// Errors: InvalidArgument for a budget that no choice keeps, and for options that make no sense; those
// of SensitivityMeter. What was measured is kept in OUTPUT.sensitivity.json until the checkpoint is there,
// so that a run that stops, or a budget that is refused, does not measure again.
Result<AutoScheme> ChooseAutoScheme(const AutoSchemeOptions& options, double max_kld,
                                    QuantizeOptions& quantize);

// Writes octavo_sensitivity.{json,md,svg} into the checkpoint's folder.
Status WriteAutoScheme(const AutoScheme& automatic, const std::string& folder);

// Removes the cache, once the checkpoint is there.
Status RemoveSensitivityCache(const AutoScheme& automatic);

}  // namespace octavo
