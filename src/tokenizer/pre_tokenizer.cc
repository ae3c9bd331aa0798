// SPDX-License-Identifier: Apache-2.0
// One small class per pre-tokenizer type of the tokenizers library.
#include "tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "tokenizer/byte_map.h"
#include "tokenizer/fast_split.h"
#include "tokenizer/metaspace.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr int kMaxSequenceDepth = 16;

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A stretch of text that did or did not match the pattern.
struct Stretch {
  Range range;
  bool is_match;
};

// Appends the parts of the piece that `stretches` and `behavior` define.
void EmitStretches(const Piece& piece, std::vector<Stretch> stretches, Behavior behavior,
                   PieceList* out) {
  std::vector<Range> parts;
  const bool from_end = behavior == Behavior::kMergedWithNext;
  if (from_end) std::reverse(stretches.begin(), stretches.end());
  bool previous_match = false;
  for (const Stretch& s : stretches) {
    const bool first = parts.empty();
    if (behavior == Behavior::kMergedWithPrevious && s.is_match && !previous_match && !first) {
      parts.back().end = s.range.end;
    } else if (from_end && s.is_match && !previous_match && !first) {
      parts.back().begin = s.range.begin;
    } else if (behavior == Behavior::kContiguous && !first && s.is_match == previous_match) {
      parts.back().end = s.range.end;
    } else if (behavior != Behavior::kRemoved || !s.is_match) {
      parts.push_back(s.range);
    }
    previous_match = s.is_match;
  }
  if (from_end) std::reverse(parts.begin(), parts.end());
  for (const Range& part : parts) {
    if (part.begin == part.end) continue;
    out->pieces.push_back(
        {piece.text.substr(part.begin, part.end - part.begin), piece.at_start && part.begin == 0});
  }
}

// Completes a list of matches with the stretches between them.
class StretchBuilder {
 public:
  StretchBuilder(size_t size, bool invert) : size_(size), invert_(invert) {}
  void AddMatch(Range match) {
    if (end_ != match.begin) stretches_.push_back({{end_, match.begin}, invert_});
    stretches_.push_back({match, !invert_});
    end_ = match.end;
  }
  std::vector<Stretch> Finish() && {
    if (end_ != size_) stretches_.push_back({{end_, size_}, invert_});
    return std::move(stretches_);
  }

 private:
  size_t size_;
  bool invert_;
  size_t end_ = 0;
  std::vector<Stretch> stretches_;
};

class KnownPatternStep : public PreTokenizerStep {
 public:
  explicit KnownPatternStep(KnownPattern pattern) : pattern_(pattern) {}
  Status Split(const Piece& piece, PieceList* out) const override {
    std::vector<Range> ranges;
    ranges.reserve(piece.text.size() / 4 + 1);
    SplitByKnownPattern(pattern_, piece.text, &ranges);
    for (const Range& r : ranges) {
      out->pieces.push_back(
          {piece.text.substr(r.begin, r.end - r.begin), piece.at_start && r.begin == 0});
    }
    return Status::Ok();
  }

 private:
  KnownPattern pattern_;
};

class RegexStep : public PreTokenizerStep {
 public:
  RegexStep(std::unique_ptr<Regex> regex, Behavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  Status Split(const Piece& piece, PieceList* out) const override {
    StretchBuilder stretches(piece.text.size(), invert_);
    OCTAVO_RETURN_IF_ERROR(
        regex_->ForEachMatch(piece.text, [&](Range match) { stretches.AddMatch(match); }));
    EmitStretches(piece, std::move(stretches).Finish(), behavior_, out);
    return Status::Ok();
  }

 private:
  std::unique_ptr<Regex> regex_;
  Behavior behavior_;
  bool invert_;
};

class LiteralStep : public PreTokenizerStep {
 public:
  LiteralStep(std::string literal, Behavior behavior, bool invert)
      : literal_(std::move(literal)), behavior_(behavior), invert_(invert) {}
  Status Split(const Piece& piece, PieceList* out) const override {
    StretchBuilder stretches(piece.text.size(), invert_);
    size_t at = literal_.empty() ? std::string_view::npos : piece.text.find(literal_);
    while (at != std::string_view::npos) {
      stretches.AddMatch({at, at + literal_.size()});
      at = piece.text.find(literal_, at + literal_.size());
    }
    EmitStretches(piece, std::move(stretches).Finish(), behavior_, out);
    return Status::Ok();
  }

 private:
  std::string literal_;
  Behavior behavior_;
  bool invert_;
};

// Matches single characters by a predicate.
class CharStep : public PreTokenizerStep {
 public:
  using Predicate = std::function<bool(char32_t)>;
  CharStep(Predicate predicate, Behavior behavior)
      : predicate_(std::move(predicate)), behavior_(behavior) {}
  Status Split(const Piece& piece, PieceList* out) const override {
    StretchBuilder stretches(piece.text.size(), false);
    for (size_t i = 0; i < piece.text.size();) {
      const Utf8Char c = DecodeUtf8(piece.text, i);
      if (predicate_(c.code)) stretches.AddMatch({i, i + c.length});
      i += c.length;
    }
    EmitStretches(piece, std::move(stretches).Finish(), behavior_, out);
    return Status::Ok();
  }

 private:
  Predicate predicate_;
  Behavior behavior_;
};

class PrefixSpaceStep : public PreTokenizerStep {
 public:
  Status Split(const Piece& piece, PieceList* out) const override {
    if (piece.text.starts_with(' ')) {
      out->pieces.push_back(piece);
    } else {
      std::string text(" ");
      text.append(piece.text);
      out->pieces.push_back({out->Store(std::move(text)), piece.at_start});
    }
    return Status::Ok();
  }
};

class MapBytesStep : public PreTokenizerStep {
 public:
  Status Split(const Piece& piece, PieceList* out) const override {
    out->pieces.push_back({out->Store(MapBytes(piece.text)), piece.at_start});
    return Status::Ok();
  }
};

class FixedLengthStep : public PreTokenizerStep {
 public:
  explicit FixedLengthStep(int64_t length) : length_(length) {}
  Status Split(const Piece& piece, PieceList* out) const override {
    size_t begin = 0;
    int64_t count = 0;
    for (size_t i = 0; i < piece.text.size();) {
      i += DecodeUtf8(piece.text, i).length;
      if (++count < length_ && i < piece.text.size()) continue;
      out->pieces.push_back({piece.text.substr(begin, i - begin), piece.at_start && begin == 0});
      begin = i;
      count = 0;
    }
    return Status::Ok();
  }

 private:
  int64_t length_;
};

class MetaspaceStep : public PreTokenizerStep {
 public:
  explicit MetaspaceStep(MetaspaceConfig config) : config_(std::move(config)) {}
  Status Split(const Piece& piece, PieceList* out) const override {
    std::string text;
    text.reserve(piece.text.size() + piece.text.size() / 2);
    for (const char c : piece.text) {
      c == ' ' ? text.append(config_.replacement) : text.append(1, c);
    }
    const bool wanted = config_.prepend == MetaspaceConfig::Prepend::kAlways ||
                        (config_.prepend == MetaspaceConfig::Prepend::kFirst && piece.at_start);
    if (wanted && !text.starts_with(config_.replacement)) text.insert(0, config_.replacement);
    const Piece mapped{out->Store(std::move(text)), piece.at_start};
    if (!config_.split) {
      out->pieces.push_back(mapped);
      return Status::Ok();
    }
    const LiteralStep split(config_.replacement, Behavior::kMergedWithNext, false);
    return split.Split(mapped, out);
  }

 private:
  MetaspaceConfig config_;
};

using StepList = std::vector<std::unique_ptr<PreTokenizerStep>>;

Result<Behavior> ParseBehavior(const Json& config, std::string_view fallback) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string name,
                          GetStringOr(config, "behavior", std::string(fallback)));
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return Unimplemented(fmt::format("split behavior '{}' is not supported", name.substr(0, 100)));
}

Status AddSplit(const Json& config, StepList* steps) {
  OCTAVO_ASSIGN_OR_RETURN(PatternConfig pattern, ParsePattern(config));
  OCTAVO_ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(config, ""));
  OCTAVO_ASSIGN_OR_RETURN(const bool invert, GetBoolOr(config, "invert", false));
  if (!pattern.is_regex) {
    steps->push_back(std::make_unique<LiteralStep>(std::move(pattern.text), behavior, invert));
    return Status::Ok();
  }
  // The known patterns tile the text: removing the gaps (inverted) or isolating is the same.
  const bool tiles =
      (behavior == Behavior::kIsolated && !invert) || (behavior == Behavior::kRemoved && invert);
  if (const auto known = FindKnownPattern(pattern.text); known && tiles) {
    steps->push_back(std::make_unique<KnownPatternStep>(*known));
    return Status::Ok();
  }
  OCTAVO_ASSIGN_OR_RETURN(auto regex, Regex::Compile(pattern.text));
  steps->push_back(std::make_unique<RegexStep>(std::move(regex), behavior, invert));
  return Status::Ok();
}

Status AddByteLevel(const Json& config, StepList* steps) {
  OCTAVO_ASSIGN_OR_RETURN(const bool prefix_space, GetBoolOr(config, "add_prefix_space", true));
  OCTAVO_ASSIGN_OR_RETURN(const bool use_regex, GetBoolOr(config, "use_regex", true));
  if (prefix_space) steps->push_back(std::make_unique<PrefixSpaceStep>());
  if (use_regex) steps->push_back(std::make_unique<KnownPatternStep>(KnownPattern::kGpt2));
  steps->push_back(std::make_unique<MapBytesStep>());
  return Status::Ok();
}

Status AddCharDelimiter(const Json& config, StepList* steps) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string delimiter, GetString(config, "delimiter"));
  if (CountUtf8(delimiter) != 1) return DataLoss("CharDelimiterSplit: want one character");
  const char32_t code = DecodeUtf8(delimiter, 0).code;
  steps->push_back(
      std::make_unique<CharStep>([code](char32_t c) { return c == code; }, Behavior::kRemoved));
  return Status::Ok();
}

Status AddSteps(const Json& config, int depth, StepList* steps);

Status AddSequence(const Json& config, int depth, StepList* steps) {
  const Json* list = Find(config, "pretokenizers");
  if (list == nullptr || !list->is_array()) {
    return DataLoss("pre_tokenizer Sequence: 'pretokenizers' is no list");
  }
  if (depth >= kMaxSequenceDepth) return DataLoss("pre_tokenizer: nested too deep");
  for (const Json& step : *list) OCTAVO_RETURN_IF_ERROR(AddSteps(step, depth + 1, steps));
  return Status::Ok();
}

Status AddSteps(const Json& config, int depth, StepList* steps) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string type, GetString(config, "type"));
  const auto by_char = [steps](CharStep::Predicate predicate, Behavior behavior) {
    steps->push_back(std::make_unique<CharStep>(std::move(predicate), behavior));
    return Status::Ok();
  };
  if (type == "Sequence") return AddSequence(config, depth, steps);
  if (type == "ByteLevel") return AddByteLevel(config, steps);
  if (type == "Split") return AddSplit(config, steps);
  if (type == "CharDelimiterSplit") return AddCharDelimiter(config, steps);
  if (type == "WhitespaceSplit") return by_char(&IsUnicodeSpace, Behavior::kRemoved);
  if (type == "Digits") {
    OCTAVO_ASSIGN_OR_RETURN(const bool single, GetBoolOr(config, "individual_digits", false));
    return by_char(&IsUnicodeNumeric, single ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Punctuation") {
    OCTAVO_ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(config, "Isolated"));
    return by_char(&IsUnicodePunctuation, behavior);
  }
  if (type == "BertPreTokenizer") {
    OCTAVO_RETURN_IF_ERROR(by_char(&IsUnicodeSpace, Behavior::kRemoved));
    return by_char(&IsUnicodePunctuation, Behavior::kIsolated);
  }
  if (type == "Whitespace") {  // \w+|[^\w\s]+
    OCTAVO_RETURN_IF_ERROR(by_char(&IsUnicodeSpace, Behavior::kRemoved));
    return by_char(&IsUnicodeWord, Behavior::kContiguous);
  }
  if (type == "Metaspace") {
    OCTAVO_ASSIGN_OR_RETURN(MetaspaceConfig metaspace, ParseMetaspace(config));
    steps->push_back(std::make_unique<MetaspaceStep>(std::move(metaspace)));
    return Status::Ok();
  }
  if (type == "FixedLength") {
    OCTAVO_ASSIGN_OR_RETURN(const int64_t length, GetIntOr(config, "length", 5, 1));
    steps->push_back(std::make_unique<FixedLengthStep>(length));
    return Status::Ok();
  }
  return Unimplemented(fmt::format("pre_tokenizer '{}' is not supported", type.substr(0, 100)));
}

}  // namespace

Result<std::unique_ptr<PreTokenizer>> PreTokenizer::Create(const Json* config) {
  std::unique_ptr<PreTokenizer> made(new PreTokenizer);
  if (config == nullptr) return made;
  OCTAVO_RETURN_IF_ERROR(AddSteps(*config, 0, &made->steps_));
  if (!made->steps_.empty() && dynamic_cast<MapBytesStep*>(made->steps_.back().get()) != nullptr) {
    made->steps_.pop_back();
    made->maps_bytes_ = true;
  }
  return made;
}

Status PreTokenizer::Split(std::string_view text, bool at_start, PieceList* out) const {
  if (text.empty()) return Status::Ok();
  std::vector<Piece> current = {{text, at_start}};
  for (const auto& step : steps_) {
    PieceList next;
    next.pieces.reserve(current.size());
    next.storage.swap(out->storage);
    for (const Piece& piece : current) OCTAVO_RETURN_IF_ERROR(step->Split(piece, &next));
    next.storage.swap(out->storage);
    current.swap(next.pieces);
  }
  out->pieces.insert(out->pieces.end(), current.begin(), current.end());
  return Status::Ok();
}

}  // namespace octavo
