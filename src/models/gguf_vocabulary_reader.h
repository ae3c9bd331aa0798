// SPDX-License-Identifier: Apache-2.0
// The tokenizer's view of a GGUF file: what io reads, in the terms of tokenizer/.
#pragma once

#include "io/gguf_reader.h"
#include "octavo/status.h"
#include "tokenizer/gguf_vocabulary.h"

namespace octavo {

// Errors: those of ReadGgufTokenizer.
Result<GgufVocabulary> ReadGgufVocabulary(const GgufReader& gguf);

}  // namespace octavo
