// SPDX-License-Identifier: Apache-2.0
// The options of `octavo quantize` that choose an algorithm and feed it with data.
#pragma once

#include <CLI/CLI.hpp>

#include "octavo/status.h"
#include "quantizers/calibration_data.h"
#include "quantizers/quantize_checkpoint.h"

namespace octavo {

struct CalibrationCommandOptions {
  CalibrationDataOptions data;
  double memory_limit_gib = 0;
};

// Adds --algorithm, --calibration-data, --num-calibration-samples, --max-seq-length and the knobs of
// the algorithms, which go to `quantize`.
void AddCalibrationOptions(CLI::App& app, CalibrationCommandOptions& options,
                           QuantizeOptions& quantize);

// Reads the samples with the tokenizer of quantize.model, and says on stderr what they are.
Status LoadCalibration(const CalibrationCommandOptions& options, QuantizeOptions& quantize);

}  // namespace octavo
