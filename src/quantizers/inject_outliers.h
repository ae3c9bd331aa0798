// SPDX-License-Identifier: Apache-2.0
// Gives a model outlier features without changing its function: a test subject for LLM.int8() and
// SmoothQuant where only small models, which have few of their own, are at hand.
//
// Source: LLM.int8(), arXiv:2208.07339, section 4: from 6.7B parameters on about six dimensions of the
// residual stream, the same ones in all layers, are some 20 to 60 times larger than the rest.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "octavo/status.h"

namespace octavo {

struct InjectOptions {
  std::string model;   // 16- or 32-bit Hugging Face folder
  std::string output;  // folder to create
  int64_t dims = 6;    // how many dimensions of the hidden state
  float factor = 32;   // what they grow by
  uint64_t seed = 1;   // chooses the dimensions
  bool overwrite = false;
  const std::atomic<bool>* cancel = nullptr;  // polled between blocks of rows; may be null
};

struct InjectResult {
  std::vector<int64_t> dimensions;  // the chosen ones, ascending
  int64_t norms = 0;                // norms whose outputs grew
  int64_t linears = 0;              // linear layers whose columns shrank
};

// In every layer the chosen outputs of each norm that feeds linear layers become `factor` times larger
// and the columns of these linear layers as much smaller. A power of two leaves every bit of the logits
// (but for weights that become subnormal); with other factors weights are rounded once more. All other
// tensors and files are copied. The folder appears whole or not at all; memory is one block of rows.
// Errors: InvalidArgument for options that make no sense or a GGUF file; FailedPrecondition when the
// source is quantized, or no norm of it feeds linear layers alone; kCancelled.
Result<InjectResult> InjectOutliers(const InjectOptions& options,
                                    const std::function<void(uint64_t done, uint64_t total)>& progress);

}  // namespace octavo
