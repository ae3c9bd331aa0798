// SPDX-License-Identifier: Apache-2.0
// One small class per normalizer type of the tokenizers library.
#include "tokenizer/normalizer.h"

#include <fmt/format.h>

#include "tokenizer/byte_map.h"
#include "tokenizer/precompiled_charsmap.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr int kMaxSequenceDepth = 16;

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps)
      : steps_(std::move(steps)) {}
  Status Apply(std::string* text) const override {
    for (const auto& step : steps_) OCTAVO_RETURN_IF_ERROR(step->Apply(text));
    return Status::Ok();
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

class FormNormalizer : public Normalizer {
 public:
  explicit FormNormalizer(NormalizationForm form) : form_(form) {}
  Status Apply(std::string* text) const override {
    *text = Normalize(*text, form_);
    return Status::Ok();
  }

 private:
  NormalizationForm form_;
};

// Rewrites character by character with a function that appends to the output.
class CharNormalizer : public Normalizer {
 public:
  using Function = void (*)(char32_t code, std::string* out);
  explicit CharNormalizer(Function function) : function_(function) {}
  Status Apply(std::string* text) const override {
    std::string out;
    out.reserve(text->size());
    for (size_t i = 0; i < text->size();) {
      const Utf8Char c = DecodeUtf8(*text, i);
      function_(c.code, &out);
      i += c.length;
    }
    *text = std::move(out);
    return Status::Ok();
  }

 private:
  Function function_;
};

void DropNonspacingMark(char32_t code, std::string* out) {
  if (!IsNonspacingMark(code)) AppendUtf8(code, out);
}

// The character filter of Google's neural machine translation, as in SentencePiece's nmt_nfkc.
void AppendNmt(char32_t code, std::string* out) {
  const bool dropped = (code >= 0x1 && code <= 0x8) || code == 0xB ||
                       (code >= 0xE && code <= 0x1F) || code == 0x7F || code == 0x8F ||
                       code == 0x9F;
  if (dropped) return;
  const bool space = code == 0x9 || code == 0xA || code == 0xC || code == 0xD || code == 0x1680 ||
                     (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 ||
                     code == 0x2581 || code == 0xFEFF || code == 0xFFFD;
  AppendUtf8(space ? U' ' : code, out);
}

class LowercaseNormalizer : public Normalizer {
 public:
  Status Apply(std::string* text) const override {
    *text = LowerCase(*text);
    return Status::Ok();
  }
};

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  Status Apply(std::string* text) const override {
    *text = std::string(StripSpace(*text, left_, right_));
    return Status::Ok();
  }

 private:
  bool left_;
  bool right_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  Status Apply(std::string* text) const override {
    if (!text->empty()) text->insert(0, prefix_);
    return Status::Ok();
  }

 private:
  std::string prefix_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  Status Apply(std::string* text) const override {
    *text = MapBytes(*text);
    return Status::Ok();
  }
};

class ReplaceNormalizer : public Normalizer {
 public:
  // `regex` null: replace the literal `pattern`.
  ReplaceNormalizer(std::string pattern, std::unique_ptr<Regex> regex, std::string content)
      : pattern_(std::move(pattern)), regex_(std::move(regex)), content_(std::move(content)) {}

  Status Apply(std::string* text) const override {
    std::string out;
    size_t copied = 0;
    const auto replace = [&](Range match) {
      out.append(*text, copied, match.begin - copied);
      out += content_;
      copied = match.end;
    };
    if (regex_ != nullptr) {
      OCTAVO_RETURN_IF_ERROR(regex_->ForEachMatch(*text, replace));
    } else if (!pattern_.empty()) {
      for (size_t at = text->find(pattern_); at != std::string::npos;
           at = text->find(pattern_, at + pattern_.size())) {
        replace({at, at + pattern_.size()});
      }
    }
    if (copied == 0 && out.empty()) return Status::Ok();
    out.append(*text, copied);
    *text = std::move(out);
    return Status::Ok();
  }

 private:
  std::string pattern_;
  std::unique_ptr<Regex> regex_;
  std::string content_;
};

bool IsCjk(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

void AppendBertCleaned(char32_t code, std::string* out) {
  const bool is_white = code == '\t' || code == '\n' || code == '\r' || IsUnicodeSpace(code);
  if (is_white) {
    out->push_back(' ');
  } else if (code != 0 && code != kReplacementChar && !IsOtherCategory(code)) {
    AppendUtf8(code, out);
  }
}

void AppendCjkSpaced(char32_t code, std::string* out) {
  if (IsCjk(code)) out->push_back(' ');
  AppendUtf8(code, out);
  if (IsCjk(code)) out->push_back(' ');
}

using NormalizerList = std::vector<std::unique_ptr<Normalizer>>;
using NormalizerResult = Result<std::unique_ptr<Normalizer>>;

NormalizerResult MakeBert(const Json& config) {
  OCTAVO_ASSIGN_OR_RETURN(const bool clean, GetBoolOr(config, "clean_text", true));
  OCTAVO_ASSIGN_OR_RETURN(const bool cjk, GetBoolOr(config, "handle_chinese_chars", true));
  OCTAVO_ASSIGN_OR_RETURN(const bool lowercase, GetBoolOr(config, "lowercase", true));
  OCTAVO_ASSIGN_OR_RETURN(const bool strip, GetBoolOr(config, "strip_accents", lowercase));
  NormalizerList steps;
  if (clean) steps.push_back(std::make_unique<CharNormalizer>(&AppendBertCleaned));
  if (cjk) steps.push_back(std::make_unique<CharNormalizer>(&AppendCjkSpaced));
  if (strip) {
    steps.push_back(std::make_unique<FormNormalizer>(NormalizationForm::kNfd));
    steps.push_back(std::make_unique<CharNormalizer>(&DropNonspacingMark));
  }
  if (lowercase) steps.push_back(std::make_unique<LowercaseNormalizer>());
  return NormalizerResult(std::make_unique<SequenceNormalizer>(std::move(steps)));
}

NormalizerResult MakeReplace(const Json& config) {
  OCTAVO_ASSIGN_OR_RETURN(PatternConfig pattern, ParsePattern(config));
  OCTAVO_ASSIGN_OR_RETURN(std::string content, GetString(config, "content"));
  std::unique_ptr<Regex> regex;
  if (pattern.is_regex) {
    OCTAVO_ASSIGN_OR_RETURN(regex, Regex::Compile(pattern.text));
  }
  return NormalizerResult(std::make_unique<ReplaceNormalizer>(
      std::move(pattern.text), std::move(regex), std::move(content)));
}

NormalizerResult Make(const Json& config, int depth);

NormalizerResult MakeSequence(const Json& config, int depth) {
  const Json* list = Find(config, "normalizers");
  if (list == nullptr || !list->is_array()) {
    return DataLoss("normalizer Sequence: 'normalizers' is no list");
  }
  if (depth >= kMaxSequenceDepth) return DataLoss("normalizer: nested too deep");
  NormalizerList steps;
  for (const Json& step : *list) {
    OCTAVO_ASSIGN_OR_RETURN(auto made, Make(step, depth + 1));
    steps.push_back(std::move(made));
  }
  return NormalizerResult(std::make_unique<SequenceNormalizer>(std::move(steps)));
}

NormalizerResult Make(const Json& config, int depth) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string type, GetString(config, "type"));
  const auto form = [](NormalizationForm f) {
    return NormalizerResult(std::make_unique<FormNormalizer>(f));
  };
  if (type == "Sequence") return MakeSequence(config, depth);
  if (type == "NFC") return form(NormalizationForm::kNfc);
  if (type == "NFD") return form(NormalizationForm::kNfd);
  if (type == "NFKC") return form(NormalizationForm::kNfkc);
  if (type == "NFKD") return form(NormalizationForm::kNfkd);
  if (type == "Lowercase") return NormalizerResult(std::make_unique<LowercaseNormalizer>());
  if (type == "StripAccents") {
    return NormalizerResult(std::make_unique<CharNormalizer>(&DropNonspacingMark));
  }
  if (type == "Nmt") return NormalizerResult(std::make_unique<CharNormalizer>(&AppendNmt));
  if (type == "ByteLevel") return NormalizerResult(std::make_unique<ByteLevelNormalizer>());
  if (type == "BertNormalizer") return MakeBert(config);
  if (type == "Replace") return MakeReplace(config);
  if (type == "Precompiled") {
    OCTAVO_ASSIGN_OR_RETURN(const std::string map, GetStringOr(config, "precompiled_charsmap", ""));
    return MakePrecompiledNormalizer(map);
  }
  if (type == "Strip") {
    OCTAVO_ASSIGN_OR_RETURN(const bool left, GetBoolOr(config, "strip_left", true));
    OCTAVO_ASSIGN_OR_RETURN(const bool right, GetBoolOr(config, "strip_right", true));
    return NormalizerResult(std::make_unique<StripNormalizer>(left, right));
  }
  if (type == "Prepend") {
    OCTAVO_ASSIGN_OR_RETURN(std::string prefix, GetString(config, "prepend"));
    return NormalizerResult(std::make_unique<PrependNormalizer>(std::move(prefix)));
  }
  return Unimplemented(fmt::format("normalizer '{}' is not supported", type.substr(0, 100)));
}

}  // namespace

Result<PatternConfig> ParsePattern(const Json& component) {
  const Json* pattern = Find(component, "pattern");
  if (pattern == nullptr) return DataLoss("'pattern' is missing");
  if (pattern->is_string()) return PatternConfig{false, pattern->get<std::string>()};
  if (Find(*pattern, "String") != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(std::string text, GetString(*pattern, "String"));
    return PatternConfig{false, std::move(text)};
  }
  if (Find(*pattern, "Regex") != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(std::string text, GetString(*pattern, "Regex"));
    return PatternConfig{true, std::move(text)};
  }
  return DataLoss("'pattern' has neither 'String' nor 'Regex'");
}

Result<std::unique_ptr<Normalizer>> MakeNormalizer(const Json* config) {
  if (config == nullptr) return std::unique_ptr<Normalizer>();
  return Make(*config, 0);
}

}  // namespace octavo
