// SPDX-License-Identifier: Apache-2.0
// The tokenizer of a model on disk, without loading the model.
#pragma once

#include <memory>
#include <string>

#include "octavo/status.h"
#include "tokenizer/text_processor.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

// What turns a model's texts and chats into tokens, from a Hugging Face folder, a tokenizer.json file
// (which has no template), a GGUF file's metadata, or a hub name (cli/hub_model.h). Errors name the path
// and say what was looked for.
Result<std::unique_ptr<TextProcessor>> OpenText(const std::string& model);

// Its tokenizer alone, which adds to a plain text what generate, serve and perplexity add too.
Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& model);

}  // namespace octavo
