// SPDX-License-Identifier: Apache-2.0
// Re-expresses a quantized checkpoint in another form, value for value, or a 16-bit one as GGUF.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "octavo/status.h"

namespace octavo {

struct ConvertOptions {
  std::string model;   // Hugging Face folder
  std::string output;  // folder to create; a file for the gguf forms
  std::string to;      // one of ConvertTargets()
  bool overwrite = false;
  int threads = 0;                            // 0: one per CPU
  const std::atomic<bool>* cancel = nullptr;  // polled between blocks of rows; may be null
};

struct ConvertResult {
  int64_t moved = 0;    // quantized matrices whose codes, zero points and scales are the source's
  int64_t rounded = 0;  // 16-bit matrices rounded to blocks (gguf only)
  int64_t copied = 0;   // tensors that kept their values
  uint64_t output_bytes = 0;
  double seconds = 0;
};

using ConvertProgress = std::function<void(uint64_t done, uint64_t total)>;

// "gptq, awq, compressed-tensors, fp8, omniserve, qoq, gguf-q8_0, gguf-q4_0".
std::string ConvertTargets();

// Nothing is quantized twice: codes, zero points and scales of a quantized source arrive unchanged or the
// conversion is refused. gptq is written as v1 where every weight is symmetric (all readers know it),
// else as v2. omniserve takes QOQ_G128, QOQ and W8A8, whose activations are int8, and qoq brings them
// back; the other folders take 16-bit activations only. The gguf forms round the matrices of a 16-bit
// source as ggml does. A folder gets the source's tokenizer and template files, a GGUF file has them in
// its metadata.
//
// Memory: one packed matrix. The output appears whole or not at all.
// Errors: InvalidArgument for options that make no sense; FailedPrecondition naming the module and the
// reason when the form cannot say what is stored, or when the output exists; kCancelled; what reading
// and writing report.
Result<ConvertResult> ConvertCheckpoint(const ConvertOptions& options,
                                        const ConvertProgress& progress = nullptr);

}  // namespace octavo
