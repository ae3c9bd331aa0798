// SPDX-License-Identifier: Apache-2.0
// Expands a GGUF file into an ordinary bf16 Hugging Face folder.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "octavo/status.h"

namespace octavo {

struct ExpandOptions {
  std::string model;   // .gguf file
  std::string output;  // folder to create
  bool overwrite = false;
  const std::atomic<bool>* cancel = nullptr;  // polled between blocks of rows; may be null
};

// Writes every tensor's exact values rounded to bf16 (to nearest even) into model.safetensors, with
// config and tokenizer files. Nothing is gained in quality: the folder is for tools that read no GGUF.
// The folder appears whole or not at all; memory is one block of rows. `progress` gets bytes of the
// output done and in all; it may be null.
// Errors: InvalidArgument when the model is no GGUF file; as OutputFolder and the reader otherwise.
Status ExpandGguf(const ExpandOptions& options,
                  const std::function<void(uint64_t done, uint64_t total)>& progress);

}  // namespace octavo
