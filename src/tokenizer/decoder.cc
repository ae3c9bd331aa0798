// SPDX-License-Identifier: Apache-2.0
// One stream class per decoder type of the tokenizers library.
#include "tokenizer/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "tokenizer/byte_map.h"
#include "tokenizer/metaspace.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr int kMaxSequenceDepth = 16;

// Rewrites whole tokens by a function of (token, is it the first). A token that arrives in
// fragments is collected first.
template <typename F>
class TokenStream : public DecoderStream {
 public:
  explicit TokenStream(F function) : function_(std::move(function)) {}
  void Push(Fragment fragment, std::vector<Fragment>* out) override {
    if (fragment.begins_token) {
      Flush(out);
      pending_.emplace();
    }
    if (!pending_) pending_.emplace();
    pending_->append(fragment.text);
  }
  void Flush(std::vector<Fragment>* out) override {
    if (!pending_) return;
    out->push_back({function_(std::move(*pending_), first_), true});
    pending_.reset();
    first_ = false;
  }

 private:
  F function_;
  std::optional<std::string> pending_;
  bool first_ = true;
};

// Steps before Fuse or ByteLevel see each token in one fragment: nothing has to be kept back.
template <typename F>
class WholeTokenStream : public DecoderStream {
 public:
  explicit WholeTokenStream(F function) : function_(std::move(function)) {}
  void Push(Fragment fragment, std::vector<Fragment>* out) override {
    out->push_back({function_(std::move(fragment.text), first_), true});
    first_ = false;
  }
  void Flush(std::vector<Fragment>* /*out*/) override {}

 private:
  F function_;
  bool first_ = true;
};

template <typename Stream>
class SimpleStep : public DecoderStep {
 public:
  std::unique_ptr<DecoderStream> Start() const override { return std::make_unique<Stream>(); }
};

template <typename F>
class TokenStep : public DecoderStep {
 public:
  TokenStep(F function, bool whole_tokens) : function_(std::move(function)), whole_(whole_tokens) {}
  std::unique_ptr<DecoderStream> Start() const override {
    if (whole_) return std::make_unique<WholeTokenStream<F>>(function_);
    return std::make_unique<TokenStream<F>>(function_);
  }

 private:
  F function_;
  bool whole_;
};

// Joins all tokens into one.
class FuseStream : public DecoderStream {
 public:
  void Push(Fragment fragment, std::vector<Fragment>* out) override {
    out->push_back({std::move(fragment.text), std::exchange(first_, false)});
  }
  void Flush(std::vector<Fragment>* /*out*/) override {}

 private:
  bool first_ = true;
};

// No decoder: one space between tokens.
class SpacedStream : public DecoderStream {
 public:
  void Push(Fragment fragment, std::vector<Fragment>* out) override {
    if (fragment.begins_token && !std::exchange(first_, false)) fragment.text.insert(0, " ");
    out->push_back(std::move(fragment));
  }
  void Flush(std::vector<Fragment>* /*out*/) override {}

 private:
  bool first_ = true;
};

// Byte-level characters to bytes to UTF-8; an unfinished character is kept back.
class ByteLevelStream : public DecoderStream {
 public:
  void Push(Fragment fragment, std::vector<Fragment>* out) override {
    AppendUnmappedBytes(fragment.text, &bytes_);
    Emit(bytes_.size() - IncompleteUtf8Suffix(bytes_), out);
  }
  void Flush(std::vector<Fragment>* out) override { Emit(bytes_.size(), out); }

 private:
  void Emit(size_t count, std::vector<Fragment>* out) {
    if (count == 0) return;
    const std::string_view ready = std::string_view(bytes_).substr(0, count);
    out->push_back({ReplaceInvalidUtf8(ready), std::exchange(first_, false)});
    bytes_.erase(0, count);
  }
  std::string bytes_;
  bool first_ = true;
};

// "<0x0A>" to its byte.
std::optional<uint8_t> ParseByteToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9';
    const char upper = c >= 'a' && c <= 'f' ? static_cast<char>(c - 32) : c;
    if (!digit && (upper < 'A' || upper > 'F')) return std::nullopt;
    value = value * 16 + (digit ? c - '0' : upper - 'A' + 10);
  }
  return static_cast<uint8_t>(value);
}

// A run of byte tokens is UTF-8 as a whole or one U+FFFD per byte, so it is kept until it ends.
class ByteFallbackStream : public DecoderStream {
 public:
  void Push(Fragment fragment, std::vector<Fragment>* out) override {
    if (const auto byte = ParseByteToken(fragment.text)) {
      run_.push_back(static_cast<char>(*byte));
      return;
    }
    Flush(out);
    out->push_back(std::move(fragment));
  }
  void Flush(std::vector<Fragment>* out) override {
    if (run_.empty()) return;
    if (IsValidUtf8(run_)) {
      out->push_back({run_, true});
    } else {
      for (size_t i = 0; i < run_.size(); ++i) out->push_back({"\xEF\xBF\xBD", true});
    }
    run_.clear();
  }

 private:
  std::string run_;
};

// Removes up to `start` copies of a character from each token's start and `stop` from its end.
class StripStream : public DecoderStream {
 public:
  StripStream(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void Push(Fragment fragment, std::vector<Fragment>* out) override {
    if (fragment.begins_token) {
      EndToken(out);
      to_strip_ = start_;
      begins_ = true;
    }
    std::string_view text = fragment.text;
    while (to_strip_ > 0 && text.starts_with(content_)) {
      text.remove_prefix(content_.size());
      --to_strip_;
    }
    if (!text.empty()) to_strip_ = 0;
    held_.append(text);
    // Only the copies at the end may still turn out to be the token's end.
    size_t keep = held_.size();
    while (stop_ > 0 && keep >= content_.size() &&
           std::string_view(held_).substr(0, keep).ends_with(content_)) {
      keep -= content_.size();
    }
    out->push_back({held_.substr(0, keep), std::exchange(begins_, false)});
    held_.erase(0, keep);
  }
  void Flush(std::vector<Fragment>* out) override { EndToken(out); }

 private:
  void EndToken(std::vector<Fragment>* out) {
    for (int64_t i = 0; i < stop_ && held_.ends_with(content_); ++i) {
      held_.resize(held_.size() - content_.size());
    }
    if (!held_.empty()) out->push_back({std::exchange(held_, {}), false});
  }
  std::string content_;
  int64_t start_;
  int64_t stop_;
  int64_t to_strip_ = 0;
  bool begins_ = false;
  std::string held_;
};

class StripStep : public DecoderStep {
 public:
  StripStep(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  std::unique_ptr<DecoderStream> Start() const override {
    return std::make_unique<StripStream>(content_, start_, stop_);
  }

 private:
  std::string content_;
  int64_t start_;
  int64_t stop_;
};

void ReplaceAll(std::string* text, std::string_view from, std::string_view to) {
  for (size_t at = text->find(from); at != std::string::npos;
       at = text->find(from, at + to.size())) {
    text->replace(at, from.size(), to);
  }
}

// Undoes the spacing of English punctuation, as BERT's decoder does.
void CleanUp(std::string* text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) ReplaceAll(text, from, to);
}

// The suffix marks a word's end: a space, but nothing in the last token.
class WordEndStream : public DecoderStream {
 public:
  explicit WordEndStream(std::string suffix) : suffix_(std::move(suffix)) {}
  void Push(Fragment fragment, std::vector<Fragment>* out) override {
    if (fragment.begins_token) Emit(" ", out);
    if (!held_) held_.emplace();
    held_->append(fragment.text);
  }
  void Flush(std::vector<Fragment>* out) override { Emit("", out); }

 private:
  void Emit(std::string_view replacement, std::vector<Fragment>* out) {
    if (!held_) return;
    ReplaceAll(&*held_, suffix_, replacement);
    out->push_back({std::move(*held_), true});
    held_.reset();
  }
  std::string suffix_;
  std::optional<std::string> held_;
};

class WordEndStep : public DecoderStep {
 public:
  explicit WordEndStep(std::string suffix) : suffix_(std::move(suffix)) {}
  std::unique_ptr<DecoderStream> Start() const override {
    return std::make_unique<WordEndStream>(suffix_);
  }

 private:
  std::string suffix_;
};

// Builds the steps and keeps track of whether tokens still arrive in one fragment each.
class Builder {
 public:
  std::vector<std::unique_ptr<DecoderStep>> TakeSteps() && { return std::move(steps_); }

  Status Add(const Json& config, int depth) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string type, GetString(config, "type"));
    if (type == "Sequence") return AddSequence(config, depth);
    if (type == "ByteLevel") return AddSimple<ByteLevelStream>(false);
    if (type == "Fuse") return AddSimple<FuseStream>(false);
    if (type == "ByteFallback") {
      if (!whole_tokens_) {
        OCTAVO_RETURN_IF_ERROR(AddToken([](std::string token, bool) { return token; }));
      }
      return AddSimple<ByteFallbackStream>(true);
    }
    if (type == "Replace") return AddReplace(config);
    if (type == "Strip") return AddStrip(config);
    if (type == "Metaspace") return AddMetaspace(config);
    if (type == "WordPiece") return AddWordPiece(config);
    if (type == "BPEDecoder") return AddBpe(config);
    return Unimplemented(fmt::format("decoder '{}' is not supported", type.substr(0, 100)));
  }

  template <typename Stream>
  Status AddSimple(bool whole_tokens_after) {
    steps_.push_back(std::make_unique<SimpleStep<Stream>>());
    whole_tokens_ = whole_tokens_after;
    return Status::Ok();
  }

 private:
  template <typename F>
  Status AddToken(F function) {
    steps_.push_back(std::make_unique<TokenStep<F>>(std::move(function), whole_tokens_));
    whole_tokens_ = true;
    return Status::Ok();
  }

  Status AddSequence(const Json& config, int depth) {
    const Json* list = Find(config, "decoders");
    if (list == nullptr || !list->is_array()) {
      return DataLoss("decoder Sequence: 'decoders' is no list");
    }
    if (depth >= kMaxSequenceDepth) return DataLoss("decoder: nested too deep");
    for (const Json& step : *list) OCTAVO_RETURN_IF_ERROR(Add(step, depth + 1));
    return Status::Ok();
  }

  // The pattern is searched in each token, as the Replace normalizer does.
  Status AddReplace(const Json& config) {
    Json normalizer = config;
    OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<Normalizer> replace, MakeNormalizer(&normalizer));
    return AddToken([replace](std::string token, bool) {
      const std::string original = token;
      return replace->Apply(&token).ok() ? token : original;
    });
  }

  Status AddStrip(const Json& config) {
    OCTAVO_ASSIGN_OR_RETURN(std::string content, GetString(config, "content"));
    if (CountUtf8(content) != 1) return DataLoss("decoder Strip: 'content' is no single character");
    OCTAVO_ASSIGN_OR_RETURN(const int64_t start, GetIntOr(config, "start", 0, 0));
    OCTAVO_ASSIGN_OR_RETURN(const int64_t stop, GetIntOr(config, "stop", 0, 0));
    steps_.push_back(std::make_unique<StripStep>(std::move(content), start, stop));
    whole_tokens_ = whole_tokens_ && stop == 0;
    return Status::Ok();
  }

  Status AddMetaspace(const Json& config) {
    OCTAVO_ASSIGN_OR_RETURN(MetaspaceConfig metaspace, ParseMetaspace(config));
    return AddToken([metaspace](std::string token, bool first) {
      const bool drop = first && metaspace.prepend != MetaspaceConfig::Prepend::kNever;
      ReplaceAll(&token, metaspace.replacement, drop ? "" : " ");
      return token;
    });
  }

  Status AddWordPiece(const Json& config) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string prefix, GetStringOr(config, "prefix", "##"));
    OCTAVO_ASSIGN_OR_RETURN(const bool cleanup, GetBoolOr(config, "cleanup", true));
    return AddToken([prefix, cleanup](std::string token, bool first) {
      if (!first) {
        token.starts_with(prefix) ? token.erase(0, prefix.size()) : token.insert(0, " ");
      }
      if (cleanup) CleanUp(&token);
      return token;
    });
  }

  Status AddBpe(const Json& config) {
    OCTAVO_ASSIGN_OR_RETURN(std::string suffix, GetStringOr(config, "suffix", "</w>"));
    if (suffix.empty()) return DataLoss("BPEDecoder: 'suffix' is empty");
    steps_.push_back(std::make_unique<WordEndStep>(std::move(suffix)));
    whole_tokens_ = true;
    return Status::Ok();
  }

  std::vector<std::unique_ptr<DecoderStep>> steps_;
  bool whole_tokens_ = true;
};

}  // namespace

void DecoderSession::Push(std::string_view token, std::string* out) {
  std::vector<Fragment> current;
  current.push_back({std::string(token), true});
  for (const auto& stream : streams_) {
    std::vector<Fragment> next;
    for (Fragment& fragment : current) stream->Push(std::move(fragment), &next);
    current = std::move(next);
  }
  for (const Fragment& fragment : current) out->append(fragment.text);
}

void DecoderSession::Flush(std::string* out) {
  std::vector<Fragment> current;
  for (const auto& stream : streams_) {
    std::vector<Fragment> next;
    for (Fragment& fragment : current) stream->Push(std::move(fragment), &next);
    stream->Flush(&next);
    current = std::move(next);
  }
  for (const Fragment& fragment : current) out->append(fragment.text);
}

Result<std::unique_ptr<Decoder>> Decoder::Create(const Json* config) {
  std::unique_ptr<Decoder> made(new Decoder);
  Builder builder;
  OCTAVO_RETURN_IF_ERROR(config != nullptr ? builder.Add(*config, 0)
                                           : builder.AddSimple<SpacedStream>(true));
  made->steps_ = std::move(builder).TakeSteps();
  return made;
}

DecoderSession Decoder::Start() const {
  std::vector<std::unique_ptr<DecoderStream>> streams;
  for (const auto& step : steps_) streams.push_back(step->Start());
  return DecoderSession(std::move(streams));
}

}  // namespace octavo
