// SPDX-License-Identifier: Apache-2.0
// A tokenizer folder as GGUF metadata: the inverse of MakeGgufTokenizerSpec.
#pragma once

#include <string>

#include "octavo/status.h"
#include "tokenizer/gguf_vocabulary.h"

namespace octavo {

// The vocabulary of a Hugging Face folder with tokenizer.json or a SentencePiece model, and its chat
// template. `num_rows`: rows of the embedding; ids that no token has are unused tokens.
// Errors: Unimplemented, saying what, for pipelines that GGUF has no name for; NotFound without a
// tokenizer.
Result<GgufVocabulary> MakeGgufVocabulary(const std::string& folder, int64_t num_rows);

}  // namespace octavo
