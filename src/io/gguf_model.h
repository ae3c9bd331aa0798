// SPDX-License-Identifier: Apache-2.0
// Translates a GGUF file into Hugging Face's terms: tensor names, row order and config.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "io/gguf_reader.h"
#include "io/stored_tensor.h"
#include "octavo/status.h"

namespace octavo {

struct GgufModel {
  Json config;                        // As config.json of transformers 4, plus "dtype".
  std::vector<StoredTensor> tensors;  // `file` points into the reader.
};

// Architectures: llama (also Mistral and, with experts, Mixtral), qwen2, qwen3, gemma2, gemma3,
// phi3. Errors: Unimplemented for another architecture or a tensor without a counterpart,
// InvalidArgument or NotFound naming the metadata key that does not fit.
Result<GgufModel> MapGgufModel(const GgufReader& gguf);

// The GGUF tensor that stores a Hugging Face tensor; the experts of a layer share a stacked one.
struct GgufName {
  std::string name;
  int64_t expert = -1;  // index in the stack, or -1
};
// Errors: Unimplemented when `architecture` (as in MapGgufModel) has no such tensor.
Result<GgufName> GgufNameOf(const std::string& architecture, std::string_view hf_name);

// The parts of MapGgufModel.
Result<Json> MakeGgufConfig(const GgufReader& gguf);
Result<std::vector<StoredTensor>> MapGgufTensors(const GgufReader& gguf);

}  // namespace octavo
