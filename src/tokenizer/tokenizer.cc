// SPDX-License-Identifier: Apache-2.0
// The pipeline: added tokens, normalizer, pre-tokenizer, model, post-processor; and the decoder.
#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/token_model.h"
#include "tokenizer/utf8.h"

namespace octavo {

std::string_view NameOf(TokenRule rule) {
  switch (rule) {
    case TokenRule::kModel:
      return "model";
    case TokenRule::kAddedToken:
      return "added_token";
    case TokenRule::kPostProcessor:
      return "post_processor";
  }
  return "";
}

Tokenizer::Tokenizer() = default;
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(const Json& tokenizer_json) {
  return FromJsonText(DumpJson(tokenizer_json));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJsonText(std::string_view text) {
  OCTAVO_ASSIGN_OR_RETURN(TokenizerSpec spec, ParseTokenizerJson(text));
  OCTAVO_ASSIGN_OR_RETURN(const std::string version, GetStringOr(spec.config, "version", "1.0"));
  if (version != "1.0") {
    return Unimplemented(
        fmt::format("tokenizer.json version '{}', want '1.0'", version.substr(0, 100)));
  }
  return FromSpec(std::move(spec));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromFile(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  auto tokenizer = FromJsonText(text);
  if (!tokenizer.ok()) return std::move(tokenizer).status().WithContext(path);
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromSpec(TokenizerSpec spec) {
  std::unique_ptr<Tokenizer> made(new Tokenizer);
  const Json& config = spec.config;
  OCTAVO_ASSIGN_OR_RETURN(made->normalizer_, MakeNormalizer(Find(config, "normalizer")));
  OCTAVO_ASSIGN_OR_RETURN(made->pre_tokenizer_,
                          PreTokenizer::Create(Find(config, "pre_tokenizer")));
  OCTAVO_ASSIGN_OR_RETURN(made->model_, MakeTokenModel(&spec, made->pre_tokenizer_->maps_bytes()));
  OCTAVO_ASSIGN_OR_RETURN(AddedTokens added,
                          AddedTokens::Create(Find(config, "added_tokens"),
                                              made->model_->vocabulary(), made->normalizer_.get()));
  made->added_tokens_ = std::make_unique<AddedTokens>(std::move(added));
  OCTAVO_ASSIGN_OR_RETURN(PostProcessor post,
                          PostProcessor::Create(Find(config, "post_processor")));
  made->post_processor_ = std::make_unique<PostProcessor>(std::move(post));
  OCTAVO_ASSIGN_OR_RETURN(made->decoder_, Decoder::Create(Find(config, "decoder")));
  return made;
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                               bool add_special_tokens) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  OCTAVO_RETURN_IF_ERROR(EncodeInto(text, add_special_tokens, &ids, nullptr));
  return ids;
}

Result<std::vector<ExplainedToken>> Tokenizer::Explain(std::string_view text,
                                                       bool add_special_tokens) const {
  std::vector<int32_t> ids;
  std::vector<TokenRule> rules;
  OCTAVO_RETURN_IF_ERROR(EncodeInto(text, add_special_tokens, &ids, &rules));
  std::vector<ExplainedToken> result;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string* token = IdToToken(ids[i]);
    result.push_back({ids[i], token != nullptr ? *token : std::string(), rules[i]});
  }
  return result;
}

Status Tokenizer::EncodeInto(std::string_view text, bool add_special_tokens,
                             std::vector<int32_t>* ids, std::vector<TokenRule>* rules) const {
  const auto mark = [&](TokenRule rule) {
    if (rules != nullptr) rules->resize(ids->size(), rule);
  };
  const auto append = [&](const std::vector<int32_t>& extra) {
    if (add_special_tokens) ids->insert(ids->end(), extra.begin(), extra.end());
    mark(TokenRule::kPostProcessor);
  };
  std::string repaired;
  if (!IsValidUtf8(text)) {
    repaired = ReplaceInvalidUtf8(text);
    text = repaired;
  }
  append(post_processor_->prefix());
  for (const Section& section : added_tokens_->Split(text, false)) {
    if (section.token != nullptr) {
      ids->push_back(section.token->id);
      mark(TokenRule::kAddedToken);
      continue;
    }
    const bool at_start = section.text.data() == text.data();
    if (normalizer_ == nullptr) {
      OCTAVO_RETURN_IF_ERROR(EncodePlain(section.text, at_start, ids, rules));
      continue;
    }
    std::string normalized(section.text);
    OCTAVO_RETURN_IF_ERROR(normalizer_->Apply(&normalized));
    OCTAVO_RETURN_IF_ERROR(EncodePlain(normalized, at_start, ids, rules));
  }
  append(post_processor_->suffix());
  return Status::Ok();
}

// `text` is normalized.
Status Tokenizer::EncodePlain(std::string_view text, bool at_start, std::vector<int32_t>* ids,
                              std::vector<TokenRule>* rules) const {
  for (const Section& section : added_tokens_->Split(text, true)) {
    if (section.token != nullptr) {
      ids->push_back(section.token->id);
      if (rules != nullptr) rules->resize(ids->size(), TokenRule::kAddedToken);
      continue;
    }
    PieceList list;
    const bool first = at_start && section.text.data() == text.data();
    OCTAVO_RETURN_IF_ERROR(pre_tokenizer_->Split(section.text, first, &list));
    for (const Piece& piece : list.pieces) {
      OCTAVO_RETURN_IF_ERROR(model_->Encode(piece.text, ids));
    }
    if (rules != nullptr) rules->resize(ids->size(), TokenRule::kModel);
  }
  return Status::Ok();
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  DecoderSession session = StartDecoding();
  std::string text;
  for (const int32_t id : ids) {
    const std::string* token = IdToToken(id);
    if (token == nullptr || (skip_special_tokens && IsSpecial(id))) continue;
    session.Push(*token, &text);
  }
  session.Flush(&text);
  return text;
}

DecoderSession Tokenizer::StartDecoding() const { return decoder_->Start(); }

int32_t Tokenizer::vocab_size() const {
  return std::max(model_->vocabulary().id_end(), added_tokens_->id_end());
}

std::optional<int32_t> Tokenizer::TokenToId(std::string_view token) const {
  const AddedToken* added = added_tokens_->FindByContent(token);
  return added != nullptr ? added->id : model_->vocabulary().Find(token);
}

const std::string* Tokenizer::IdToToken(int32_t id) const {
  const AddedToken* added = added_tokens_->FindById(id);
  return added != nullptr ? &added->content : model_->vocabulary().TokenOf(id);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  const std::string* token = IdToToken(id);
  return token != nullptr && added_tokens_->IsSpecialContent(*token);
}

void Tokenizer::SetAffixes(std::vector<int32_t> prefix, std::vector<int32_t> suffix) {
  *post_processor_ = PostProcessor::Around(std::move(prefix), std::move(suffix));
}

const std::vector<int32_t>& Tokenizer::prefix_ids() const { return post_processor_->prefix(); }
const std::vector<int32_t>& Tokenizer::suffix_ids() const { return post_processor_->suffix(); }

}  // namespace octavo
