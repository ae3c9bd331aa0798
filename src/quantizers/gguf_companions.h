// SPDX-License-Identifier: Apache-2.0
// The files that a GGUF file's metadata stand for in a Hugging Face folder.
#pragma once

#include <string>

#include "io/checkpoint.h"
#include "octavo/status.h"

namespace octavo {

// Writes tokenizer.json, tokenizer_config.json (with the chat template), special_tokens_map.json and
// generation_config.json into `folder`. Requires checkpoint.is_gguf().
// Errors: Unimplemented for a tokenizer family that is not known.
Status WriteGgufCompanions(const Checkpoint& checkpoint, const std::string& folder);

}  // namespace octavo
