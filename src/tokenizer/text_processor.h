// SPDX-License-Identifier: Apache-2.0
// Everything between text and a model: tokenizer, special tokens, chat template, stop tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

// One BOS rule everywhere: plain text (completions, perplexity, evaluation) gets what the
// tokenizer's post-processor adds (add_bos_token and add_eos_token of tokenizer_config.json
// overrule it, as in transformers); a chat gets exactly what its template writes.
// Immutable; const methods are thread-safe.
class TextProcessor {
 public:
  // From a Hugging Face model folder: tokenizer.json, else tokenizer.model (SentencePiece), else
  // *.tiktoken; tokenizer_config.json, special_tokens_map.json, chat_template.jinja,
  // generation_config.json and config.json where they exist. A chat template that cannot be parsed
  // does not stop the model from loading: chat_template() is null and EncodeChat gives the reason.
  static Result<std::unique_ptr<TextProcessor>> FromFolder(const std::string& folder);

  // From a GGUF file's metadata.
  static Result<std::unique_ptr<TextProcessor>> FromGguf(const GgufVocabulary& vocabulary);

  // A tokenizer alone: no chat template, no special tokens beside what it adds itself.
  static std::unique_ptr<TextProcessor> FromTokenizer(std::unique_ptr<Tokenizer> tokenizer);

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // For callers that need nothing else; nothing but the destructor may follow.
  std::unique_ptr<Tokenizer> TakeTokenizer() { return std::move(tokenizer_); }

  // Who decides on the tokens before and after a plain text: "post_processor" (of tokenizer.json, or what
  // the file implies), "add_bos_token" or "add_eos_token" (tokenizer_config.json overrules it).
  const std::string& prefix_rule() const { return prefix_rule_; }
  const std::string& suffix_rule() const { return suffix_rule_; }

  // Ids of plain text, with the special tokens that the tokenizer adds.
  Result<std::vector<int32_t>> EncodeText(std::string_view text) const {
    return tokenizer_->Encode(text, true);
  }

  // The template's output, and its ids (without added special tokens).
  Result<std::string> RenderChat(const Json& messages, const ChatTemplateOptions& options) const;
  Result<std::vector<int32_t>> EncodeChat(const Json& messages,
                                          const ChatTemplateOptions& options) const;

  // Null when the model has none or it cannot be parsed.
  const ChatTemplate* chat_template() const { return chat_template_.get(); }

  // Any of these ends a generation: generation_config.json, else config.json, else the tokenizer's
  // own; the tokenizer's eos_token always belongs to them. Sorted, may be empty.
  const std::vector<int32_t>& eos_token_ids() const { return eos_token_ids_; }

  std::optional<int32_t> bos_token_id() const { return IdOf("bos_token"); }
  std::optional<int32_t> pad_token_id() const { return IdOf("pad_token"); }

  // bos_token, eos_token, ... as text, as the template sees them.
  const Json& special_tokens() const { return special_tokens_; }

 private:
  TextProcessor() = default;
  std::optional<int32_t> IdOf(std::string_view special_token) const;
  Status ReadSpecialTokens(const std::string& folder, const Json& tokenizer_config);
  Status ReadChatTemplate(const std::string& folder, const Json& tokenizer_config);
  Status ReadEosIds(const std::string& folder);
  Status ApplyBosEosFlags(const Json& tokenizer_config);
  void SetChatTemplate(const std::string& source);

  std::unique_ptr<Tokenizer> tokenizer_;
  std::string prefix_rule_ = "post_processor";
  std::string suffix_rule_ = "post_processor";
  std::unique_ptr<ChatTemplate> chat_template_;
  Status chat_template_status_;  // why chat_template_ is null
  Json special_tokens_ = Json::object();
  std::vector<int32_t> eos_token_ids_;
};

}  // namespace octavo
