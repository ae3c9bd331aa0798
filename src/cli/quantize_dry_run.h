// SPDX-License-Identifier: Apache-2.0
// `octavo quantize --dry-run`.
#pragma once

#include <string>

#include "octavo/status.h"
#include "quantizers/quantize_checkpoint.h"

namespace octavo {

// "W4A16", or "W4A16 (120), W8A16 (48)" with the number of layers of each.
std::string DescribeSchemes(const QuantizeResult& result);

// Prints sizes, memory and time, and the size in every other scheme; writes nothing but `json`.
// Calibration is not part of the estimate.
Status DryRunQuantize(const QuantizeOptions& options, const std::string& json);

}  // namespace octavo
