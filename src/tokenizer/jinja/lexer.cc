// SPDX-License-Identifier: Apache-2.0
// A hand-written scanner that follows Jinja2's lexer rule by rule.
#include "tokenizer/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool IsNameChar(char c) { return IsNameStart(c) || IsDigit(c); }
bool IsAsciiSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// All line ends become "\n", and one at the very end goes.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> Run() {
    while (position_ < source_.size()) {
      const size_t tag = FindTag(position_);
      if (tag == std::string::npos) {
        AddData(source_.substr(position_));
        position_ = source_.size();
        break;
      }
      OCTAVO_RETURN_IF_ERROR(Tag(tag));
    }
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Status Error(std::string_view what) const {
    return InvalidArgument(fmt::format("template line {}: {}", line_, what));
  }
  bool At(std::string_view text) const {
    return std::string_view(source_).substr(position_).starts_with(text);
  }
  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void AddData(std::string text) {
    if (!text.empty()) Add(TokenKind::kData, std::move(text));
  }
  void Advance(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    position_ = end;
  }

  size_t FindTag(size_t from) const {
    for (size_t at = source_.find('{', from); at != std::string::npos;
         at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() &&
          (source_[at + 1] == '%' || source_[at + 1] == '{' || source_[at + 1] == '#')) {
        return at;
      }
    }
    return std::string::npos;
  }

  // Emits the data before the tag, stripped as its sign and kind demand, and lexes the tag.
  Status Tag(size_t tag) {
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    std::string data = source_.substr(position_, tag - position_);
    if (sign == '-') {
      data = std::string(StripSpace(data, false, true));
    } else if (kind != '{' && sign != '+') {
      StripLineStart(&data);
    }
    AddData(std::move(data));
    const bool has_sign = sign == '-' || (sign == '+' && kind != '{');
    Advance(tag + 2 + (has_sign ? 1 : 0));
    if (kind == '#') return Comment();
    if (kind == '{') {
      Add(TokenKind::kVariableBegin, "{{");
      OCTAVO_RETURN_IF_ERROR(Expression("}}", TokenKind::kVariableEnd));
      return Status::Ok();
    }
    if (const auto body = RawBegin()) return Raw(*body);
    Add(TokenKind::kBlockBegin, "{%");
    return Expression("%}", TokenKind::kBlockEnd);
  }

  // lstrip_blocks: white space between the start of the line and the tag goes.
  void StripLineStart(std::string* data) const {
    const size_t newline = data->rfind('\n');
    const size_t start = newline == std::string::npos ? 0 : newline + 1;
    if (start == 0 && !line_starting_) return;
    if (StripSpace(std::string_view(*data).substr(start), true, false).empty()) data->resize(start);
  }

  // After the closing delimiter: "-" eats all white space, else trim_blocks eats one line break.
  void AfterTag(bool stripped, bool plus, bool trims) {
    const size_t begin = position_;
    if (stripped) {
      const std::string_view rest = std::string_view(source_).substr(position_);
      Advance(source_.size() - StripSpace(rest, true, false).size());
    } else if (trims && !plus && position_ < source_.size() && source_[position_] == '\n') {
      Advance(position_ + 1);
    }
    line_starting_ = position_ > begin && source_[position_ - 1] == '\n';
  }

  Status Comment() {
    const size_t end = source_.find("#}", position_);
    if (end == std::string::npos) return Error("comment without an end");
    const char sign = end > position_ ? source_[end - 1] : '\0';
    Advance(end + 2);
    AfterTag(sign == '-', sign == '+', true);
    return Status::Ok();
  }

  // Length of "raw [-+]%}" at the position, with its sign.
  struct RawTag {
    size_t end;
    char sign;
  };
  std::optional<RawTag> RawWord(std::string_view word, size_t from) const {
    const auto skip_space = [this](size_t at) {
      while (at < source_.size() && IsAsciiSpace(source_[at])) ++at;
      return at;
    };
    size_t at = skip_space(from);
    if (source_.compare(at, word.size(), word) != 0) return std::nullopt;
    at = skip_space(at + word.size());
    char sign = '\0';
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) sign = source_[at++];
    if (source_.compare(at, 2, "%}") != 0) return std::nullopt;
    return RawTag{at + 2, sign};
  }
  std::optional<RawTag> RawBegin() const { return RawWord("raw", position_); }

  Status Raw(const RawTag& begin) {
    Advance(begin.end);
    AfterTag(begin.sign == '-', begin.sign == '+', true);
    for (size_t at = source_.find("{%", position_); at != std::string::npos;
         at = source_.find("{%", at + 2)) {
      const char sign = at + 2 < source_.size() ? source_[at + 2] : '\0';
      const auto end = RawWord("endraw", at + 2 + (sign == '-' || sign == '+' ? 1 : 0));
      if (!end) continue;
      std::string data = source_.substr(position_, at - position_);
      if (sign == '-') {
        data = std::string(StripSpace(data, false, true));
      } else if (sign != '+') {
        StripLineStart(&data);
      }
      AddData(std::move(data));
      Advance(end->end);
      AfterTag(end->sign == '-', end->sign == '+', true);
      return Status::Ok();
    }
    return Error("raw block without an end");
  }

  // Tokens up to the closing delimiter. A closing brace inside brackets belongs to the expression.
  Status Expression(std::string_view close, TokenKind end_kind) {
    std::string brackets;
    while (true) {
      while (position_ < source_.size() && IsAsciiSpace(source_[position_])) Advance(position_ + 1);
      if (position_ >= source_.size()) return Error("tag without an end");
      const char sign = source_[position_];
      const bool signed_close = (sign == '-' || (sign == '+' && close == "%}")) &&
                                source_.compare(position_ + 1, 2, close) == 0;
      if (brackets.empty() && (signed_close || At(close))) {
        Advance(position_ + (signed_close ? 3 : 2));
        Add(end_kind, std::string(close));
        AfterTag(signed_close && sign == '-', signed_close && sign == '+', close == "%}");
        return Status::Ok();
      }
      OCTAVO_RETURN_IF_ERROR(One(&brackets));
    }
  }

  Status One(std::string* brackets) {
    const char c = source_[position_];
    if (c == '"' || c == '\'') return StringLiteral(c);
    if (IsDigit(c)) return Number();
    if (IsNameStart(c)) {
      size_t end = position_;
      while (end < source_.size() && IsNameChar(source_[end])) ++end;
      Add(TokenKind::kName, source_.substr(position_, end - position_));
      position_ = end;
      return Status::Ok();
    }
    constexpr std::array<std::string_view, 6> kTwoChars = {"==", "!=", ">=", "<=", "//", "**"};
    for (const std::string_view op : kTwoChars) {
      if (At(op)) return Operator(op);
    }
    constexpr std::string_view kOneChar = "+-*/%~[](){}<>=.:|,;";
    if (kOneChar.find(c) == std::string_view::npos) {
      return Error(fmt::format("unexpected character '{}'", c));
    }
    if (c == '(' || c == '[' || c == '{') brackets->push_back(c);
    if (c == ')' || c == ']' || c == '}') {
      const char open = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (brackets->empty() || brackets->back() != open) {
        return Error(fmt::format("unexpected '{}'", c));
      }
      brackets->pop_back();
    }
    return Operator(std::string_view(source_).substr(position_, 1));
  }

  Status Operator(std::string_view op) {
    const size_t end = position_ + op.size();
    Add(TokenKind::kOperator, std::string(op));
    position_ = end;
    return Status::Ok();
  }

  Status Number() {
    size_t end = position_;
    const auto digits = [&] {
      while (end < source_.size() && (IsDigit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool is_float = false;
    if (end + 1 < source_.size() && source_[end] == '.' && IsDigit(source_[end + 1])) {
      is_float = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-'))
        ++exponent;
      if (exponent < source_.size() && IsDigit(source_[exponent])) {
        is_float = true;
        end = exponent;
        digits();
      }
    }
    std::string text = source_.substr(position_, end - position_);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    Add(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    position_ = end;
    return Status::Ok();
  }

  Status StringLiteral(char quote) {
    std::string value;
    size_t at = position_ + 1;
    while (at < source_.size() && source_[at] != quote) {
      if (source_[at] == '\\') {
        OCTAVO_RETURN_IF_ERROR(Escape(&at, &value));
      } else {
        value.push_back(source_[at++]);
      }
    }
    if (at >= source_.size()) return Error("string without an end");
    Add(TokenKind::kString, std::move(value));
    Advance(at + 1);
    return Status::Ok();
  }

  // Python's escapes in string literals; an unknown one keeps its backslash.
  Status Escape(size_t* at, std::string* value) const {
    constexpr std::string_view kNames = "ntr\\'\"abfv0";
    constexpr std::string_view kValues("\n\t\r\\'\"\a\b\f\v\0", 11);
    if (*at + 1 >= source_.size()) return Error("string without an end");
    const char c = source_[*at + 1];
    const int hex_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (hex_digits != 0) {
      const char* begin = source_.data() + *at + 2;
      const char* end = begin + std::min<size_t>(hex_digits, source_.size() - *at - 2);
      uint32_t code = 0;
      const auto parsed = std::from_chars(begin, end, code, 16);
      const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
      if (parsed.ptr != begin + hex_digits || code > 0x10FFFF || surrogate) {
        return Error("malformed escape in a string");
      }
      AppendUtf8(code, value);
      *at += 2 + hex_digits;
      return Status::Ok();
    }
    const size_t known = kNames.find(c);
    if (c == '\n') {
      // A backslash joins lines.
    } else if (known != std::string_view::npos) {
      value->push_back(kValues[known]);
    } else {
      value->push_back('\\');
      value->push_back(c);
    }
    *at += 2;
    return Status::Ok();
  }

  std::string source_;
  size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) {
  return Lexer(NormalizeNewlines(source)).Run();
}

}  // namespace octavo::jinja
