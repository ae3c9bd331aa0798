// SPDX-License-Identifier: Apache-2.0
// Recursive-descent parser of expressions, with Jinja2's precedence.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"
#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/lexer.h"

namespace octavo::jinja {

// Limits the depth of the tree: parsing, evaluating and destroying it recurse.
inline constexpr int kMaxExprDepth = 200;

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // One expression, with inline if.
  Result<ExprPtr> Expression();
  // One expression, or several with commas: a tuple. `with_condition`: inline if is allowed.
  Result<ExprPtr> TupleOrExpression(bool with_condition);
  // What a for or set statement assigns to: a name, names with commas, or (set) name.attribute.
  Result<ExprPtr> AssignmentTarget(bool allow_attribute);
  // filter | filter(...) after a filter or set block's first token; the innermost child is null.
  Result<ExprPtr> FilterChain();

 protected:
  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(position_ + ahead, tokens_.size() - 1)];
  }
  Token Next() { return position_ + 1 < tokens_.size() ? tokens_[position_++] : tokens_.back(); }
  bool PeekOperator(std::string_view op) const {
    return Peek().kind == TokenKind::kOperator && Peek().text == op;
  }
  bool PeekName(std::string_view name) const {
    return Peek().kind == TokenKind::kName && Peek().text == name;
  }
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  Status WantOperator(std::string_view op);
  Result<std::string> WantName();
  Status Error(std::string_view what) const;

 private:
  class DepthGuard;
  using Rule = Result<ExprPtr> (ExpressionParser::*)();

  ExprPtr Make(Expr::Kind kind, std::string name = {}) const;
  // Every node passes here when its children are complete: fails when the tree gets too deep.
  Result<ExprPtr> Finish(ExprPtr node) const;
  Result<ExprPtr> Binary(Rule operand, std::initializer_list<std::string_view> operators);
  Result<ExprPtr> Conditional();
  Result<ExprPtr> Or();
  Result<ExprPtr> And();
  Result<ExprPtr> Not();
  Result<ExprPtr> Compare();
  Result<ExprPtr> Sum();
  Result<ExprPtr> Concat();
  Result<ExprPtr> Product();
  Result<ExprPtr> Power();
  Result<ExprPtr> Unary() { return UnaryWith(true); }
  Result<ExprPtr> UnaryWith(bool with_filter);
  Result<ExprPtr> Primary();
  Result<ExprPtr> ListLiteral();
  Result<ExprPtr> DictLiteral();
  Result<ExprPtr> ParenthesizedLiteral();
  Result<ExprPtr> Postfix(ExprPtr base);
  Result<ExprPtr> Filters(ExprPtr base);
  Result<ExprPtr> Filter(ExprPtr base);
  Result<ExprPtr> Test(ExprPtr base);
  Result<ExprPtr> Subscript(ExprPtr base);
  Result<ExprPtr> SliceBound();
  Result<ExprPtr> Number();
  Result<CallArguments> Call();

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int depth_ = 0;
};

}  // namespace octavo::jinja
