// SPDX-License-Identifier: Apache-2.0
// A recursive-descent parser of GBNF.
#include "engine/structured/gbnf_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <string>

#include "engine/structured/regex_grammar.h"

namespace octavo {
namespace {

using Expr = GrammarBuilder::Expr;

constexpr int kMaxDepth = 100;

bool IsNameChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

class GbnfParser {
 public:
  GbnfParser(std::string_view text, GrammarBuilder& builder) : text_(text), b_(builder) {}

  Result<int32_t> Parse() {
    for (SkipBlanks(true); at_ < text_.size(); SkipBlanks(true)) {
      OCTAVO_RETURN_IF_ERROR(Rule());
    }
    for (const auto& [name, rule] : rules_) {
      if (!rule.defined) return InvalidArgument("grammar: rule '" + name + "' is not defined");
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) return InvalidArgument("grammar: no rule 'root'");
    return root->second.id;
  }

 private:
  struct NamedRule {
    int32_t id = 0;
    bool defined = false;
  };

  Status Bad(std::string_view what) const {
    const auto line =
        std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at_), '\n') + 1;
    return InvalidArgument(fmt::format("grammar line {}: {}", line, what));
  }

  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void SkipBlanks(bool newlines) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string Name() {
    const size_t begin = at_;
    while (IsNameChar(Peek())) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  NamedRule& RuleNamed(const std::string& name) {
    const auto [it, added] = rules_.try_emplace(name);
    if (added) it->second.id = b_.NewRule();
    return it->second;
  }

  Status Rule() {
    const std::string name = Name();
    SkipBlanks(false);
    if (name.empty() || !text_.substr(at_).starts_with("::=")) {
      return Bad("want 'name ::= ...'");
    }
    at_ += 3;
    NamedRule& rule = RuleNamed(name);
    if (rule.defined) return Bad("rule '" + name + "' is defined twice");
    rule.defined = true;
    const int32_t id = rule.id;
    SkipBlanks(true);
    OCTAVO_ASSIGN_OR_RETURN(const Expr body, Alternatives(0));
    b_.Define(id, body);
    return Status::Ok();
  }

  // Inside groups, and after '|', lines may break.
  Result<Expr> Alternatives(int depth) {
    if (depth > kMaxDepth) return Bad("groups nest too deep");
    std::vector<Expr> options;
    while (true) {
      OCTAVO_ASSIGN_OR_RETURN(const Expr option, Concatenation(depth));
      options.push_back(option);
      const size_t before = at_;
      SkipBlanks(true);
      if (Peek() == '|') {
        ++at_;
        SkipBlanks(true);
        continue;
      }
      if (depth == 0) at_ = before;
      return b_.Choice(std::move(options));
    }
  }

  Result<Expr> Concatenation(int depth) {
    std::vector<Expr> parts;
    while (true) {
      SkipBlanks(depth > 0);
      const char c = Peek();
      if (c != '"' && c != '[' && c != '(' && c != '.' && !IsNameChar(c)) break;
      OCTAVO_ASSIGN_OR_RETURN(Expr part, Atom(depth));
      OCTAVO_ASSIGN_OR_RETURN(part, Quantified(part));
      parts.push_back(part);
    }
    return b_.Sequence(std::move(parts));
  }

  Result<Expr> Quantified(Expr part) {
    switch (Peek()) {
      case '*':
        ++at_;
        return b_.Repeat(part, 0, GrammarBuilder::kUnbounded);
      case '+':
        ++at_;
        return b_.Repeat(part, 1, GrammarBuilder::kUnbounded);
      case '?':
        ++at_;
        return b_.Optional(part);
      case '{': {
        ++at_;
        OCTAVO_ASSIGN_OR_RETURN(const auto counts, ParseRepeatCounts(text_, at_));
        return b_.Repeat(part, counts.first, counts.second);
      }
      default:
        return part;
    }
  }

  Result<Expr> Atom(int depth) {
    if (Peek() == '"') return QuotedText();
    if (Peek() == '[' || Peek() == '.') return CharacterClass();
    if (Peek() == '(') {
      ++at_;
      OCTAVO_ASSIGN_OR_RETURN(const Expr expr, Alternatives(depth + 1));
      SkipBlanks(true);
      if (Peek() != ')') return Bad("missing ')'");
      ++at_;
      return expr;
    }
    return b_.Call(RuleNamed(Name()).id);
  }

  // Literals and classes use the escapes of regular expressions.
  Result<Expr> QuotedText() {
    std::string pattern;
    for (++at_; Peek() != '"'; ++at_) {
      if (at_ >= text_.size() || Peek() == '\n') return Bad("missing '\"'");
      if (Peek() == '\\' && at_ + 1 < text_.size()) {
        pattern += text_[at_++];
      } else if (std::string_view(".^$*+?()[]{}|").find(Peek()) != std::string_view::npos) {
        pattern += '\\';
      }
      pattern += text_[at_];
    }
    ++at_;
    return FromRegex(pattern);
  }

  Result<Expr> CharacterClass() {
    const size_t begin = at_;
    if (Peek() == '.') return FromRegex(std::string(text_.substr(at_++, 1)));
    for (++at_; Peek() != ']'; ++at_) {
      if (at_ >= text_.size() || Peek() == '\n') return Bad("missing ']'");
      if (Peek() == '\\') ++at_;
    }
    ++at_;
    return FromRegex(std::string(text_.substr(begin, at_ - begin)));
  }

  Result<Expr> FromRegex(const std::string& pattern) {
    auto expr = ParseRegex(pattern, b_);
    if (!expr.ok()) return Bad(expr.status().message());
    return expr;
  }

  std::string_view text_;
  GrammarBuilder& b_;
  size_t at_ = 0;
  std::map<std::string, NamedRule> rules_;
};

}  // namespace

Result<int32_t> ParseGbnf(std::string_view text, GrammarBuilder& builder) {
  return GbnfParser(text, builder).Parse();
}

}  // namespace octavo
