// SPDX-License-Identifier: Apache-2.0
// The texts that calibration runs through a model, as token ids.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"
#include "tokenizer/text_processor.h"

namespace octavo {

struct CalibrationDataOptions {
  // JSON lines (.jsonl, .json) with "messages" (through the model's chat template) or "text" each, or
  // plain text. Empty: the text that comes with Octavo (data/calibration/README.md).
  std::string path;
  // Lines of a JSON file, from the first on; windows of a plain text, spread evenly over its first
  // 16 MiB. More tokens cost time in proportion and change little.
  int64_t num_samples = 128;
  int64_t max_length = 512;  // tokens per sample; longer ones are cut
};

struct CalibrationData {
  std::vector<std::vector<int32_t>> samples;  // each of 1 to max_length tokens
  int64_t num_tokens = 0;                     // of all samples
  std::string source;                         // the file, or "built-in"
};

// Fewer samples than asked for are fine, none is an error.
// Errors: InvalidArgument naming file and line for what is no JSON or has neither key, and for
// messages where the model has no chat template; what reading and the tokenizer report.
Result<CalibrationData> LoadCalibrationData(const CalibrationDataOptions& options,
                                            const TextProcessor& text);

// Of the samples' tokens and lengths, in hexadecimal digits: tells runs on other data apart.
std::string HashOf(std::span<const std::vector<int32_t>> samples);

// The built-in text.
std::string_view DefaultCalibrationText();

}  // namespace octavo
