// SPDX-License-Identifier: Apache-2.0
// Id assignment and matching of added tokens, as the tokenizers library does both.
#include "tokenizer/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

// Bounds the work per text position in a hostile file.
constexpr size_t kMaxContentBytes = 4096;

Result<AddedToken> ParseToken(const Json& config) {
  AddedToken token;
  OCTAVO_ASSIGN_OR_RETURN(token.content, GetString(config, "content"));
  if (token.content.size() > kMaxContentBytes) {
    return ResourceExhausted(
        fmt::format("added token of {} bytes, limit {}", token.content.size(), kMaxContentBytes));
  }
  OCTAVO_ASSIGN_OR_RETURN(token.special, GetBoolOr(config, "special", false));
  OCTAVO_ASSIGN_OR_RETURN(token.single_word, GetBoolOr(config, "single_word", false));
  OCTAVO_ASSIGN_OR_RETURN(token.lstrip, GetBoolOr(config, "lstrip", false));
  OCTAVO_ASSIGN_OR_RETURN(token.rstrip, GetBoolOr(config, "rstrip", false));
  OCTAVO_ASSIGN_OR_RETURN(token.normalized, GetBoolOr(config, "normalized", !token.special));
  return token;
}

bool TouchesWord(std::string_view text, size_t begin, size_t end) {
  const bool before = begin > 0 && IsUnicodeWord(DecodeUtf8Before(text, begin).code);
  return before || (end < text.size() && IsUnicodeWord(DecodeUtf8(text, end).code));
}

}  // namespace

Result<AddedTokens> AddedTokens::Create(const Json* list, const Vocabulary& vocabulary,
                                        const Normalizer* normalizer) {
  AddedTokens result;
  if (list == nullptr) return result;
  if (!list->is_array()) return DataLoss("'added_tokens' is no list");
  int32_t next_id = static_cast<int32_t>(vocabulary.num_tokens());
  for (const Json& config : *list) {
    auto parsed = ParseToken(config);
    if (!parsed.ok()) {
      return std::move(parsed).status().WithContext(
          fmt::format("added_tokens[{}]", result.tokens_.size()));
    }
    AddedToken token = std::move(parsed).value();
    if (token.content.empty()) continue;
    const auto known = result.by_content_.find(token.content);
    const auto in_vocab = vocabulary.Find(token.content);
    if (known != result.by_content_.end()) {
      token.id = result.tokens_[known->second].id;
      result.tokens_[known->second] = std::move(token);
      continue;
    }
    token.id = in_vocab ? *in_vocab : next_id;
    next_id = std::max(next_id, token.id + 1);
    result.by_content_[token.content] = result.tokens_.size();
    result.by_id_[token.id] = result.tokens_.size();
    result.tokens_.push_back(std::move(token));
  }
  // Special tokens come first: of equal strings the first one wins.
  for (const bool special : {true, false}) {
    for (size_t i = 0; i < result.tokens_.size(); ++i) {
      const AddedToken& token = result.tokens_[i];
      if (token.special != special) continue;
      std::string content = token.content;
      if (token.normalized && normalizer != nullptr) {
        OCTAVO_RETURN_IF_ERROR(normalizer->Apply(&content));
      }
      if (!content.empty()) {
        result.tries_[token.normalized].Insert(content, static_cast<int32_t>(i));
      }
    }
  }
  return result;
}

const AddedToken* AddedTokens::MatchAt(const ByteTrie& trie, std::string_view text, size_t at,
                                       size_t* length) const {
  const AddedToken* longest = nullptr;
  trie.ForEachPrefix(text, at, [&](size_t bytes, int32_t index) {
    longest = &tokens_[static_cast<size_t>(index)];
    *length = bytes;
  });
  return longest;
}

std::vector<Section> AddedTokens::Split(std::string_view text, bool normalized) const {
  const ByteTrie& trie = tries_[normalized];
  std::vector<Section> sections;
  size_t copied = 0;  // end of the last section
  const auto add = [&](size_t begin, size_t end, const AddedToken* token) {
    if (end > begin) sections.push_back({text.substr(begin, end - begin), token});
  };
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    const AddedToken* token = nullptr;
    if (trie.HasFirstByte(static_cast<uint8_t>(text[at]))) token = MatchAt(trie, text, at, &length);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + length;
    at = end;  // the search goes on here even when rstrip extends the match
    if (token->single_word && TouchesWord(text, begin, end)) continue;
    if (token->lstrip)
      begin = std::max(StripSpace(text.substr(0, begin), false, true).size(), copied);
    if (token->rstrip) end = text.size() - StripSpace(text.substr(end), true, false).size();
    add(copied, std::max(begin, copied), nullptr);
    add(begin, end, token);
    copied = end;
  }
  add(copied, text.size(), nullptr);
  return sections;
}

const AddedToken* AddedTokens::FindById(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::FindByContent(std::string_view content) const {
  const auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

bool AddedTokens::IsSpecialContent(std::string_view content) const {
  const AddedToken* token = FindByContent(content);
  return token != nullptr && token->special;
}

int32_t AddedTokens::id_end() const {
  int32_t end = 0;
  for (const AddedToken& token : tokens_) end = std::max(end, token.id + 1);
  return end;
}

}  // namespace octavo
