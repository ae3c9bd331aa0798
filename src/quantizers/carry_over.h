// SPDX-License-Identifier: Apache-2.0
// Everything of a quantized checkpoint but its tensors: config.json and the files beside it.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "io/checkpoint.h"
#include "octavo/status.h"

namespace octavo {

// The source's config with quantization_config (null: without one), and with both spellings of the
// model's type (torch_dtype, dtype), so that transformers 4 and 5 and vLLM read it.
Result<Json> MakeQuantizedConfig(const Checkpoint& checkpoint, const Json& quantization_config);

// Whether a file of a model folder belongs to every derived checkpoint: tokenizer, chat template,
// generation defaults, processors, licence.
bool IsCompanionFile(std::string_view name);

// Name, size and time of change of every file with tensors: tells a model that was changed from the one
// that an unfinished run began with. Errors: IoError.
Result<Json> FilesIdentity(const Checkpoint& checkpoint);

// Writes the companion files into `folder`: copies from a Hugging Face folder, or made from a GGUF's
// metadata.
Status WriteCompanionFiles(const Checkpoint& checkpoint, const std::string& folder);

}  // namespace octavo
