// SPDX-License-Identifier: Apache-2.0
// What every tokenizer file format is turned into before a Tokenizer is built from it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/gguf_vocabulary.h"

namespace octavo {

struct VocabEntry {
  std::string token;
  int32_t id = 0;
  double score = 0;  // Unigram only
};

// The parts of a tokenizer.json; the two large tables are kept out of the JSON tree.
struct TokenizerSpec {
  // version, added_tokens, normalizer, pre_tokenizer, post_processor, decoder and model without
  // its vocab and merges.
  Json config;
  std::vector<VocabEntry> vocab;
  // BPE merges in rank order.
  std::vector<std::pair<std::string, std::string>> merges;
};

// Parses the text of a tokenizer.json.
Result<TokenizerSpec> ParseTokenizerJson(std::string_view text);

// The tokenizer.json that a GGUF vocabulary stands for. Errors: DataLoss for arrays that do not fit
// together, Unimplemented for a family that is not known.
Result<TokenizerSpec> MakeGgufTokenizerSpec(const GgufVocabulary& vocabulary);

// The text of a tokenizer.json that this library and Hugging Face's read: ParseTokenizerJson's
// inverse, with every key that the other library insists on.
std::string WriteTokenizerJson(const TokenizerSpec& spec);

}  // namespace octavo
