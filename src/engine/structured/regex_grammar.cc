// SPDX-License-Identifier: Apache-2.0
// A recursive-descent parser of regular expressions.
#include "engine/structured/regex_grammar.h"

#include <fmt/format.h>

#include <optional>
#include <string>

namespace octavo {
namespace {

using Expr = GrammarBuilder::Expr;
using Ranges = std::vector<GrammarBuilder::CodePointRange>;

constexpr int kMaxDepth = 100;

const Ranges kDigits = {{'0', '9'}};
const Ranges kWords = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const Ranges kSpaces = {{'\t', '\r'}, {' ', ' '}};

Ranges Inverse(const Ranges& sorted) {
  Ranges rest;
  char32_t next = 0;
  for (const auto& [low, high] : sorted) {
    if (low > next) rest.emplace_back(next, low - 1);
    next = high + 1;
  }
  rest.emplace_back(next, 0x10FFFF);
  return rest;
}

class RegexParser {
 public:
  RegexParser(std::string_view text, GrammarBuilder& builder) : text_(text), builder_(builder) {}

  Result<Expr> Parse() {
    if (Peek() == '^') ++at_;
    OCTAVO_ASSIGN_OR_RETURN(const Expr expr, Alternatives(0));
    if (at_ < text_.size()) return Bad("unbalanced ')'");
    return expr;
  }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool AtEnd() const { return at_ >= text_.size(); }

  Status Bad(std::string_view what) const {
    return InvalidArgument(fmt::format("regex: {} at byte {}", what, at_));
  }

  Result<Expr> Alternatives(int depth) {
    if (depth > kMaxDepth) return Bad("groups nest too deep");
    std::vector<Expr> options;
    do {
      if (!options.empty()) ++at_;
      OCTAVO_ASSIGN_OR_RETURN(const Expr option, Concatenation(depth));
      options.push_back(option);
    } while (Peek() == '|');
    return options.size() == 1 ? options[0] : builder_.Choice(std::move(options));
  }

  Result<Expr> Concatenation(int depth) {
    std::vector<Expr> parts;
    while (!AtEnd() && Peek() != '|' && Peek() != ')') {
      if (Peek() == '$' && at_ + 1 == text_.size()) {
        ++at_;
        break;
      }
      OCTAVO_ASSIGN_OR_RETURN(Expr part, Atom(depth));
      OCTAVO_ASSIGN_OR_RETURN(part, Quantified(part));
      parts.push_back(part);
    }
    return builder_.Sequence(std::move(parts));
  }

  Result<Expr> Quantified(Expr part) {
    std::pair<int32_t, int32_t> counts;
    switch (Peek()) {
      case '*':
        counts = {0, GrammarBuilder::kUnbounded};
        break;
      case '+':
        counts = {1, GrammarBuilder::kUnbounded};
        break;
      case '?':
        counts = {0, 1};
        break;
      case '{':
        break;
      default:
        return part;
    }
    if (AtEnd()) return part;
    const bool braces = text_[at_++] == '{';
    if (braces) {
      OCTAVO_ASSIGN_OR_RETURN(counts, ParseRepeatCounts(text_, at_));
    }
    if (!AtEnd() && (Peek() == '?' || Peek() == '+')) ++at_;  // lazy or possessive: same language
    if (!AtEnd() && (Peek() == '*' || Peek() == '{')) return Bad("repeated repetition");
    return builder_.Repeat(part, counts.first, counts.second);
  }

  Result<Expr> Atom(int depth) {
    switch (Peek()) {
      case '(':
        return Group(depth);
      case '[':
        return Class();
      case '.':
        ++at_;
        return builder_.CodePointsExcept({{'\n', '\n'}});
      case '^':
      case '$':
        return Bad("an anchor inside the expression");
      case '*':
      case '+':
      case '?':
        return Bad("nothing to repeat");
      case '\\': {
        ++at_;
        OCTAVO_ASSIGN_OR_RETURN(const Ranges ranges, Escape());
        return builder_.CodePoints(ranges);
      }
      default:
        break;
    }
    OCTAVO_ASSIGN_OR_RETURN(const char32_t code, CodePoint());
    return builder_.CodePoints(Ranges{{code, code}});
  }

  Result<Expr> Group(int depth) {
    ++at_;
    if (Peek() == '?') {
      if (text_.substr(at_).starts_with("?:")) {
        at_ += 2;
      } else {
        return Bad("'(?' other than '(?:' (look-around, named groups) is not supported");
      }
    }
    OCTAVO_ASSIGN_OR_RETURN(const Expr expr, Alternatives(depth + 1));
    if (AtEnd()) return Bad("missing ')'");
    ++at_;
    return expr;
  }

  Result<Expr> Class() {
    ++at_;
    const bool negated = Peek() == '^';
    if (negated) ++at_;
    Ranges ranges;
    for (bool first = true; first || Peek() != ']'; first = false) {
      if (AtEnd()) return Bad("missing ']'");
      OCTAVO_ASSIGN_OR_RETURN(Ranges item, ClassItem());
      if (item.size() == 1 && item[0].first == item[0].second && Peek() == '-' &&
          at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        OCTAVO_ASSIGN_OR_RETURN(const Ranges end, ClassItem());
        if (end.size() != 1 || end[0].first < item[0].first) return Bad("bad range in class");
        item[0].second = end[0].second;
      }
      ranges.insert(ranges.end(), item.begin(), item.end());
    }
    ++at_;
    return negated ? builder_.CodePointsExcept(std::move(ranges)) : builder_.CodePoints(ranges);
  }

  Result<Ranges> ClassItem() {
    if (text_.substr(at_).starts_with("[:")) return Bad("named classes are not supported");
    if (Peek() == '\\' && !AtEnd()) {
      ++at_;
      return Escape();
    }
    OCTAVO_ASSIGN_OR_RETURN(const char32_t code, CodePoint());
    return Ranges{{code, code}};
  }

  // After the backslash.
  Result<Ranges> Escape() {
    if (AtEnd()) return Bad("a lone backslash");
    const char c = text_[at_++];
    const auto one = [](char32_t code) { return Ranges{{code, code}}; };
    switch (c) {
      case 'd':
        return kDigits;
      case 'w':
        return kWords;
      case 's':
        return kSpaces;
      case 'D':
        return Inverse(kDigits);
      case 'W':
        return Inverse(kWords);
      case 'S':
        return Inverse(kSpaces);
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case '0':
        return one(0);
      case 'x':
        return Hex(2);
      case 'u':
        return Hex(4);
      default:
        break;
    }
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (alphanumeric) {
      return Bad(fmt::format("'\\{}' is not supported", c));
    }
    --at_;
    OCTAVO_ASSIGN_OR_RETURN(const char32_t code, CodePoint());
    return one(code);
  }

  Result<Ranges> Hex(size_t digits) {
    char32_t code = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = Peek();
      const bool digit = c >= '0' && c <= '9';
      const char lower = static_cast<char>(c | 0x20);
      if (!digit && (lower < 'a' || lower > 'f')) return Bad("bad hexadecimal escape");
      code = code * 16 + static_cast<char32_t>(digit ? c - '0' : lower - 'a' + 10);
    }
    return Ranges{{code, code}};
  }

  Result<char32_t> CodePoint() {
    const auto lead = static_cast<uint8_t>(text_[at_]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (at_ + length > text_.size() || (lead >= 0x80 && lead < 0xC2) || lead > 0xF4) {
      return Bad("invalid UTF-8");
    }
    char32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t i = 1; i < length; ++i) {
      code = code << 6 | (static_cast<uint8_t>(text_[at_ + i]) & 0x3Fu);
    }
    at_ += length;
    return code;
  }

  std::string_view text_;
  GrammarBuilder& builder_;
  size_t at_ = 0;
};

std::optional<int32_t> ParseCount(std::string_view text, size_t& at) {
  std::optional<int32_t> value;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    value = value.value_or(0) * 10 + (text[at] - '0');
    if (*value > kMaxRepeat) return std::nullopt;
  }
  return value;
}

}  // namespace

Result<std::pair<int32_t, int32_t>> ParseRepeatCounts(std::string_view text, size_t& at) {
  const auto bad = [&] {
    return InvalidArgument(
        fmt::format("repetition at byte {}: want {{m}}, {{m,}} or {{m,n}} with numbers up to {}",
                    at, kMaxRepeat));
  };
  const auto min = ParseCount(text, at);
  if (!min) return bad();
  int32_t max = *min;
  if (at < text.size() && text[at] == ',') {
    ++at;
    if (at < text.size() && text[at] == '}') {
      max = GrammarBuilder::kUnbounded;
    } else {
      const auto count = ParseCount(text, at);
      if (!count || *count < *min) return bad();
      max = *count;
    }
  }
  if (at >= text.size() || text[at] != '}') return bad();
  ++at;
  return std::pair(*min, max);
}

Result<Expr> ParseRegex(std::string_view pattern, GrammarBuilder& builder) {
  return RegexParser(pattern, builder).Parse();
}

}  // namespace octavo
