// SPDX-License-Identifier: Apache-2.0
// The tokenizer of a model on disk, without loading the model.
#pragma once

#include <memory>
#include <string>

#include "octavo/status.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

// From a Hugging Face folder (its tokenizer.json), a tokenizer.json file, a GGUF file's metadata, or
// a hub name (cli/hub_model.h). Errors name the path and say what was looked for.
Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& model);

}  // namespace octavo
