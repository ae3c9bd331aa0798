// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back, equal to the Hugging Face tokenizers library on the same file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/tokenizer_spec.h"

namespace octavo {

class AddedTokens;
class Decoder;
class DecoderSession;
class Normalizer;
class PostProcessor;
class PreTokenizer;
class TokenModel;

// Which part of the tokenizer produced a token.
enum class TokenRule {
  kModel,          // BPE, Unigram or WordPiece on ordinary text
  kAddedToken,     // an added token found in the text
  kPostProcessor,  // put around the text because add_special_tokens was set
};
std::string_view NameOf(TokenRule rule);

struct ExplainedToken {
  int32_t id = 0;
  std::string token;  // as the vocabulary spells it, e.g. "Ġthe"
  TokenRule rule = TokenRule::kModel;
};

// Immutable after creation: const methods may be called from any number of threads.
class Tokenizer {
 public:
  // From tokenizer.json, version "1.0". Types of components that are not supported are refused by
  // name. The text of a real file is better passed to FromFile or FromJsonText, which do not build
  // a tree of its vocabulary.
  static Result<std::unique_ptr<Tokenizer>> FromJson(const Json& tokenizer_json);
  static Result<std::unique_ptr<Tokenizer>> FromJsonText(std::string_view text);
  static Result<std::unique_ptr<Tokenizer>> FromFile(const std::string& path);

  // From GGUF metadata: the same pipeline as the family's tokenizer.json.
  static Result<std::unique_ptr<Tokenizer>> FromGguf(const GgufVocabulary& vocabulary);

  // From the parts that all file formats are turned into.
  static Result<std::unique_ptr<Tokenizer>> FromSpec(TokenizerSpec spec);

  ~Tokenizer();

  // Replaces what the post-processor adds around a text. To be called before the tokenizer is
  // shared: tokenizer_config.json may overrule tokenizer.json on BOS and EOS.
  void SetAffixes(std::vector<int32_t> prefix, std::vector<int32_t> suffix);

  // Token ids of `text`. Invalid UTF-8 is replaced by U+FFFD first. Added tokens in the text are
  // always recognized, special or not; `add_special_tokens` adds what the post-processor puts
  // around the text (BOS, EOS). Fails only when the model's file lacks an unknown token it needs,
  // or a regex exceeds its backtracking limits.
  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const;

  // Encode with the origin of every token.
  Result<std::vector<ExplainedToken>> Explain(std::string_view text, bool add_special_tokens) const;

  // Text of `ids`; unknown ids are left out, invalid UTF-8 comes out as U+FFFD.
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  // One more than the largest id (the embedding may have more rows).
  int32_t vocab_size() const;

  std::optional<int32_t> TokenToId(std::string_view token) const;
  // The spelling in the vocabulary; nullptr for an unknown id. Valid as long as the tokenizer.
  const std::string* IdToToken(int32_t id) const;
  // True for added tokens marked special (left out by Decode when asked to).
  bool IsSpecial(int32_t id) const;

  // What Encode adds before and after a text with add_special_tokens.
  const std::vector<int32_t>& prefix_ids() const;
  const std::vector<int32_t>& suffix_ids() const;

  // Starts decoding token by token; used by StreamingDetokenizer.
  DecoderSession StartDecoding() const;

 private:
  Tokenizer();
  // Appends ids; `rules`, when not null, gets one entry per id.
  Status EncodeInto(std::string_view text, bool add_special_tokens, std::vector<int32_t>* ids,
                    std::vector<TokenRule>* rules) const;
  Status EncodePlain(std::string_view text, bool at_start, std::vector<int32_t>* ids,
                     std::vector<TokenRule>* rules) const;

  std::unique_ptr<Normalizer> normalizer_;  // null: identity
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<TokenModel> model_;
  std::unique_ptr<AddedTokens> added_tokens_;
  std::unique_ptr<PostProcessor> post_processor_;
  std::unique_ptr<Decoder> decoder_;
};

}  // namespace octavo
