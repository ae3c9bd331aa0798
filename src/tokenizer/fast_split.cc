// SPDX-License-Identifier: Apache-2.0
// One scanner per regex family; each branch names the alternative it implements.
#include "tokenizer/fast_split.h"

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr char32_t kLongS = 0x17F;  // case-folds to s

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text), classes_(CharClassTable()) {}

  struct Char {
    char32_t code;
    uint32_t length;  // 0 at the end of the text
    uint8_t bits;     // CharClass
    bool is(uint8_t mask) const { return (bits & mask) != 0; }
    bool other() const { return length != 0 && bits == 0; }
    bool newline() const { return code == '\r' || code == '\n'; }
  };

  Char At(size_t position) const {
    if (position >= text_.size()) return {0, 0, 0};
    const auto byte = static_cast<uint8_t>(text_[position]);
    if (byte < 0x80) return {byte, 1, classes_[byte]};
    const Utf8Char c = DecodeUtf8(text_, position);
    return {c.code, c.length, classes_[c.code]};
  }

  // End of the run of characters in `mask` that begins at `position`, at most `limit` characters.
  size_t SkipClass(size_t position, uint8_t mask, int limit = -1) const {
    for (; limit != 0; --limit) {
      const Char c = At(position);
      if (!c.is(mask)) break;
      position += c.length;
    }
    return position;
  }

  size_t SkipOther(size_t position) const {
    for (Char c = At(position); c.other(); c = At(position)) position += c.length;
    return position;
  }

  size_t SkipNewlines(size_t position) const {
    while (position < text_.size() && At(position).newline()) ++position;
    return position;
  }

  // Length of 's 't 're 've 'm 'll 'd after the apostrophe at `position`, or 0.
  size_t Contraction(size_t position, bool ignore_case) const {
    const auto lower = [&](size_t p) -> char32_t {
      const Char c = At(p);
      if (ignore_case && c.code == kLongS) return U's';
      return ignore_case && c.code >= 'A' && c.code <= 'Z' ? c.code + 32 : c.code;
    };
    const char32_t first = lower(position + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') {
      return 1 + At(position + 1).length;
    }
    const char32_t second = first == 'r' || first == 'v' || first == 'l' ? lower(position + 2) : 0;
    const bool pair = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                      (first == 'l' && second == 'l');
    return pair ? 3 : 0;
  }

  // \s+(?!\S)|\s+ : the run without its last character when text follows, but never nothing.
  size_t SpaceRun(size_t begin) const {
    size_t end = begin;
    size_t last = begin;
    for (Char c = At(end); c.is(kClassSpace); c = At(end)) {
      last = end;
      end += c.length;
    }
    return end == text_.size() || last == begin ? end : last;
  }

  // \s*[\r\n]+ : up to the last line break of the white-space run, or 0 when it has none.
  size_t SpaceRunToNewline(size_t begin) const {
    size_t found = 0;
    size_t end = begin;
    for (Char c = At(end); c.is(kClassSpace); c = At(end)) {
      end += c.length;
      if (c.newline()) found = end;
    }
    return found;
  }

 private:
  std::string_view text_;
  const uint8_t* classes_;
};

size_t NextGpt2(const Scanner& scan, size_t begin) {
  const auto c = scan.At(begin);
  if (c.code == '\'') {
    if (const size_t length = scan.Contraction(begin, false)) return begin + length;
  }
  const bool space = c.code == ' ';
  const auto head = space ? scan.At(begin + 1) : c;  //  ?X+
  const size_t start = space ? begin + 1 : begin;
  if (head.is(kClassLetter)) return scan.SkipClass(start, kClassLetter);
  if (head.is(kClassNumber)) return scan.SkipClass(start, kClassNumber);
  if (head.other()) return scan.SkipOther(start);
  return scan.SpaceRun(begin);
}

size_t NextLlama3(const Scanner& scan, size_t begin, int max_digits) {
  const auto c = scan.At(begin);
  if (c.code == '\'') {
    if (const size_t length = scan.Contraction(begin, true)) return begin + length;
  }
  // [^\r\n\p{L}\p{N}]?\p{L}+
  if (c.is(kClassLetter)) return scan.SkipClass(begin, kClassLetter);
  if (c.is(kClassNumber)) return scan.SkipClass(begin, kClassNumber, max_digits);
  const auto next = scan.At(begin + c.length);
  if (!c.newline() && next.is(kClassLetter)) {
    return scan.SkipClass(begin + c.length, kClassLetter);
  }
  //  ?[^\s\p{L}\p{N}]+[\r\n]*
  if (c.other()) return scan.SkipNewlines(scan.SkipOther(begin));
  if (c.code == ' ' && next.other()) return scan.SkipNewlines(scan.SkipOther(begin + 1));
  if (const size_t end = scan.SpaceRunToNewline(begin)) return end;
  return scan.SpaceRun(begin);
}

}  // namespace

std::string_view RegexOf(KnownPattern pattern) {
  switch (pattern) {
    case KnownPattern::kGpt2:
      return kGpt2Regex;
    case KnownPattern::kLlama3:
      return kLlama3Regex;
    case KnownPattern::kQwen2:
      return kQwen2Regex;
  }
  return {};
}

std::optional<KnownPattern> FindKnownPattern(std::string_view regex) {
  for (const auto pattern : {KnownPattern::kGpt2, KnownPattern::kLlama3, KnownPattern::kQwen2}) {
    if (regex == RegexOf(pattern)) return pattern;
  }
  return std::nullopt;
}

void SplitByKnownPattern(KnownPattern pattern, std::string_view text, std::vector<Range>* out) {
  const Scanner scan(text);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = pattern == KnownPattern::kGpt2
                           ? NextGpt2(scan, begin)
                           : NextLlama3(scan, begin, pattern == KnownPattern::kLlama3 ? 3 : 1);
    out->push_back({begin, end});
    begin = end;
  }
}

}  // namespace octavo
