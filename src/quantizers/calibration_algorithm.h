// SPDX-License-Identifier: Apache-2.0
// The algorithms that choose codes, by name, and their knobs.
#pragma once

#include <span>
#include <string_view>

#include "octavo/status.h"
#include "quantizers/gptq.h"
#include "schemes/scheme.h"

namespace octavo {

struct CalibrationAlgorithm {
  std::string_view name;  // "smoothquant+gptq"
  std::string_view summary;
  bool smoothquant = false;
  bool awq = false;
  bool gptq = false;
  bool clip = false;  // AWQ's limits, whatever the scales
  bool qoq = false;   // qoq_layer.h, on a rotated checkpoint

  bool needs_gram() const { return gptq || awq || clip; }
  // Whether a scheme's weights can be chosen this way. Errors: InvalidArgument with the reason.
  Status Accepts(const Scheme& scheme) const;
};

// gptq, awq, awq+clip, smoothquant, smoothquant+gptq, qoq.
std::span<const CalibrationAlgorithm> CalibrationAlgorithms();

// nullptr when there is none of this name; "rtn" needs no data and is none.
const CalibrationAlgorithm* FindCalibrationAlgorithm(std::string_view name);

}  // namespace octavo
