// SPDX-License-Identifier: Apache-2.0
// What calibration chose and what it cost, layer by layer: for certificates and for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

struct ModuleReport {
  std::string module;
  std::string scheme;
  std::string algorithm;  // what really chose the codes: "gptq", "rtn", "awq", "awq+clip"
  std::string note;       // why that is not what was asked for; empty if it is
  // Of the module's output over the calibration tokens, |X (W' - W)^T| / |X W^T| and the cosine of the
  // two, from every eighth block of 128 output channels. Absent where no Gram matrix was taken.
  std::optional<double> output_relative_error;
  std::optional<double> output_cosine;
  double input_absmax = 0;           // largest |x| before smoothing
  double input_absmax_smoothed = 0;  // and after
  double damping = 0;                // GPTQ: share of mean(diag H) added
  int64_t num_tokens = 0;            // that met the module
};

struct SiteReport {
  std::string producer;
  std::vector<std::string> consumers;
  std::string method;       // "smoothquant" or "awq"
  double strength = 0;      // SmoothQuant's alpha or AWQ's ratio
  bool duo_scaling = false;  // AWQ: weights have a say in the scales, too
  double scale_min = 0;
  double scale_max = 0;
  double error_ratio = 0;   // AWQ: squared output error relative to no scaling
};

// What keys have in common beside their bias; see models/key_center_file.h.
struct KeyCenterReport {
  std::string module;  // of the attention; empty: none
  std::vector<float> values = {};
};

struct LayerReport {
  int64_t layer = 0;
  double seconds = 0;
  std::vector<ModuleReport> modules;
  std::vector<SiteReport> sites;
  KeyCenterReport key_center;
};

struct CalibrationReport {
  std::string algorithm;
  std::string source;  // of the samples
  int64_t num_samples = 0;
  int64_t num_tokens = 0;
  double token_norm_limit = 0;  // of the Gram matrices; 0: none
  std::vector<LayerReport> layers;
};

Json ToJson(const LayerReport& report);
Json ToJson(const CalibrationReport& report);

// Inverse of ToJson: a resumed run reads the layers of the run it continues.
Result<LayerReport> ParseLayerReport(const Json& json);

}  // namespace octavo
