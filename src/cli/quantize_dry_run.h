// SPDX-License-Identifier: Apache-2.0
// `octavo quantize --dry-run`.
#pragma once

#include <string>

#include "octavo/status.h"
#include "quantizers/quantize_checkpoint.h"

namespace octavo {

// Prints sizes, memory and time, and the size in every other scheme; writes nothing but `json`.
// `algorithm`: how codes will be chosen; calibration is not part of the estimate.
Status DryRunQuantize(const QuantizeOptions& options, const std::string& algorithm,
                      const std::string& json);

}  // namespace octavo
