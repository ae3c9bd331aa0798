// SPDX-License-Identifier: Apache-2.0
// Added tokens: strings that are cut out of the text before the model sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/byte_trie.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/vocabulary.h"

namespace octavo {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  // no match beside a word character
  bool lstrip = false;       // the match swallows white space on its left
  bool rstrip = false;       // ... on its right
  bool normalized = false;   // searched in the normalized text
  bool special = false;      // left out by Decode with skip_special_tokens
};

// A stretch of text, or an added token that was found (`token` not null).
struct Section {
  std::string_view text;
  const AddedToken* token;
};

// Immutable after Create.
class AddedTokens {
 public:
  // `list`: the "added_tokens" array or null. A token that the model's vocabulary knows keeps that
  // id; others get the next free ids in the order of the list. `normalizer` may be null.
  static Result<AddedTokens> Create(const Json* list, const Vocabulary& vocabulary,
                                    const Normalizer* normalizer);

  // Cuts `text` at the tokens with the given `normalized` flag: leftmost, then longest match.
  // Sections without text are left out.
  std::vector<Section> Split(std::string_view text, bool normalized) const;

  const AddedToken* FindById(int32_t id) const;
  const AddedToken* FindByContent(std::string_view content) const;
  bool IsSpecialContent(std::string_view content) const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }
  int32_t id_end() const;

 private:
  const AddedToken* MatchAt(const ByteTrie& trie, std::string_view text, size_t at,
                            size_t* length) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  ByteTrie tries_[2];  // [normalized]
};

}  // namespace octavo
