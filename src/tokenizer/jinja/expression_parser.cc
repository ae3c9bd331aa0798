// SPDX-License-Identifier: Apache-2.0
// One method per precedence level, loosest first.
#include "tokenizer/jinja/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace octavo::jinja {

// Counts the recursion of one rule.
class ExpressionParser::DepthGuard {
 public:
  explicit DepthGuard(int* depth) : depth_(depth) { ++*depth_; }
  ~DepthGuard() { --*depth_; }
  bool TooDeep() const { return *depth_ > kMaxExprDepth / 2; }

 private:
  int* depth_;
};

ExprPtr ExpressionParser::Make(Expr::Kind kind, std::string name) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = Peek().line;
  expr->name = std::move(name);
  return expr;
}

bool ExpressionParser::SkipOperator(std::string_view op) {
  if (!PeekOperator(op)) return false;
  ++position_;
  return true;
}

bool ExpressionParser::SkipName(std::string_view name) {
  if (!PeekName(name)) return false;
  ++position_;
  return true;
}

Status ExpressionParser::Error(std::string_view what) const {
  return InvalidArgument(fmt::format("template line {}: {}, found '{}'", Peek().line, what,
                                     Peek().text.substr(0, 60)));
}

Status ExpressionParser::WantOperator(std::string_view op) {
  return SkipOperator(op) ? Status::Ok() : Error(fmt::format("want '{}'", op));
}

Result<std::string> ExpressionParser::WantName() {
  if (Peek().kind != TokenKind::kName) return Error("want a name");
  return Next().text;
}

Result<ExprPtr> ExpressionParser::Finish(ExprPtr node) const {
  const auto cover = [&node](const ExprPtr& child) {
    if (child != nullptr) node->depth = std::max(node->depth, child->depth + 1);
  };
  for (const ExprPtr& child : node->children) cover(child);
  for (const ExprPtr& argument : node->arguments.positional) cover(argument);
  for (const auto& [name, argument] : node->arguments.named) cover(argument);
  if (node->depth > kMaxExprDepth) return Error("expression nested too deep");
  return node;
}

Result<ExprPtr> ExpressionParser::Expression() {
  const DepthGuard guard(&depth_);
  if (guard.TooDeep()) return Error("expression nested too deep");
  return Conditional();
}

Result<ExprPtr> ExpressionParser::TupleOrExpression(bool with_condition) {
  const DepthGuard guard(&depth_);
  if (guard.TooDeep()) return Error("expression nested too deep");
  const auto one = [&] { return with_condition ? Expression() : Or(); };
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr first, one());
  if (!PeekOperator(",")) return first;
  ExprPtr tuple = Make(Expr::Kind::kTuple);
  tuple->children.push_back(std::move(first));
  while (SkipOperator(",")) {
    const TokenKind kind = Peek().kind;
    if (kind == TokenKind::kBlockEnd || kind == TokenKind::kVariableEnd || PeekOperator(")")) break;
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr item, one());
    tuple->children.push_back(std::move(item));
  }
  return Finish(std::move(tuple));
}

Result<ExprPtr> ExpressionParser::AssignmentTarget(bool allow_attribute) {
  const bool parenthesized = SkipOperator("(");
  ExprPtr tuple = Make(Expr::Kind::kTuple);
  bool is_tuple = parenthesized;
  do {
    if (!tuple->children.empty() && Peek().kind != TokenKind::kName) break;  // trailing comma
    OCTAVO_ASSIGN_OR_RETURN(std::string name, WantName());
    ExprPtr item = Make(Expr::Kind::kName, std::move(name));
    if (allow_attribute && SkipOperator(".")) {
      OCTAVO_ASSIGN_OR_RETURN(std::string attribute, WantName());
      ExprPtr access = Make(Expr::Kind::kAttribute, std::move(attribute));
      access->children.push_back(std::move(item));
      item = std::move(access);
    }
    tuple->children.push_back(std::move(item));
    is_tuple = is_tuple || PeekOperator(",");
  } while (SkipOperator(","));
  if (parenthesized) OCTAVO_RETURN_IF_ERROR(WantOperator(")"));
  if (!is_tuple) return std::move(tuple->children.front());
  return Finish(std::move(tuple));
}

Result<ExprPtr> ExpressionParser::FilterChain() {
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr filter, Filter(nullptr));
  return Filters(std::move(filter));
}

Result<ExprPtr> ExpressionParser::Conditional() {
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr value, Or());
  while (SkipName("if")) {
    ExprPtr node = Make(Expr::Kind::kConditional);
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr condition, Or());
    ExprPtr otherwise;
    if (SkipName("else")) {
      OCTAVO_ASSIGN_OR_RETURN(otherwise, Expression());
    }
    node->children.push_back(std::move(condition));
    node->children.push_back(std::move(value));
    node->children.push_back(std::move(otherwise));
    OCTAVO_ASSIGN_OR_RETURN(value, Finish(std::move(node)));
  }
  return value;
}

Result<ExprPtr> ExpressionParser::Or() {
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr left, And());
  while (SkipName("or")) {
    ExprPtr node = Make(Expr::Kind::kOr);
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr right, And());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    OCTAVO_ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::And() {
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr left, Not());
  while (SkipName("and")) {
    ExprPtr node = Make(Expr::Kind::kAnd);
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr right, Not());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    OCTAVO_ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::Not() {
  if (!PeekName("not")) return Compare();
  const DepthGuard guard(&depth_);
  if (guard.TooDeep()) return Error("expression nested too deep");
  ExprPtr node = Make(Expr::Kind::kUnary, "not");
  SkipName("not");
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr operand, Not());
  node->children.push_back(std::move(operand));
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::Compare() {
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr first, Sum());
  ExprPtr node = Make(Expr::Kind::kCompare);
  node->children.push_back(std::move(first));
  while (true) {
    std::string op;
    for (const char* name : {"==", "!=", ">=", "<=", "<", ">"}) {
      if (op.empty() && SkipOperator(name)) op = name;
    }
    if (op.empty() && SkipName("in")) op = "in";
    if (op.empty() && PeekName("not") && Peek(1).kind == TokenKind::kName && Peek(1).text == "in") {
      position_ += 2;
      op = "not in";
    }
    if (op.empty()) break;
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr operand, Sum());
    node->operators.push_back(std::move(op));
    node->children.push_back(std::move(operand));
  }
  if (node->operators.empty()) return std::move(node->children.front());
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::Binary(Rule operand,
                                         std::initializer_list<std::string_view> operators) {
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr left, (this->*operand)());
  while (true) {
    const auto found = std::find_if(operators.begin(), operators.end(),
                                    [this](std::string_view op) { return PeekOperator(op); });
    if (found == operators.end()) return left;
    ExprPtr node = Make(Expr::Kind::kBinary, std::string(*found));
    SkipOperator(*found);
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr right, (this->*operand)());
    node->children.push_back(std::move(left));
    node->children.push_back(std::move(right));
    OCTAVO_ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
}

Result<ExprPtr> ExpressionParser::Sum() { return Binary(&ExpressionParser::Concat, {"+", "-"}); }

Result<ExprPtr> ExpressionParser::Concat() {
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr first, Product());
  if (!PeekOperator("~")) return first;
  ExprPtr node = Make(Expr::Kind::kConcat);
  node->children.push_back(std::move(first));
  while (SkipOperator("~")) {
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr operand, Product());
    node->children.push_back(std::move(operand));
  }
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::Product() {
  return Binary(&ExpressionParser::Power, {"*", "//", "/", "%"});
}

Result<ExprPtr> ExpressionParser::Power() { return Binary(&ExpressionParser::Unary, {"**"}); }

Result<ExprPtr> ExpressionParser::UnaryWith(bool with_filter) {
  const DepthGuard guard(&depth_);
  if (guard.TooDeep()) return Error("expression nested too deep");
  ExprPtr node;
  if (PeekOperator("-") || PeekOperator("+")) {
    node = Make(Expr::Kind::kUnary, Peek().text);
    Next();
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr operand, UnaryWith(false));
    node->children.push_back(std::move(operand));
    OCTAVO_ASSIGN_OR_RETURN(node, Finish(std::move(node)));
  } else {
    OCTAVO_ASSIGN_OR_RETURN(node, Primary());
  }
  OCTAVO_ASSIGN_OR_RETURN(node, Postfix(std::move(node)));
  if (!with_filter) return node;
  return Filters(std::move(node));
}

Result<ExprPtr> ExpressionParser::Number() {
  ExprPtr node = Make(Expr::Kind::kLiteral);
  const Token token = Next();
  const char* end = token.text.data() + token.text.size();
  if (token.kind == TokenKind::kInteger) {
    int64_t value = 0;
    if (std::from_chars(token.text.data(), end, value).ec != std::errc()) {
      return Error("integer out of range");
    }
    node->literal = Value::Int(value);
    return Finish(std::move(node));
  }
  double value = 0;
  if (std::from_chars(token.text.data(), end, value).ec != std::errc()) {
    return Error("number out of range");
  }
  node->literal = Value::Float(value);
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::Primary() {
  const Token& token = Peek();
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat) return Number();
  if (token.kind == TokenKind::kString) {
    ExprPtr node = Make(Expr::Kind::kLiteral);
    std::string text;
    while (Peek().kind == TokenKind::kString) text += Next().text;  // neighbours join
    node->literal = Value::String(std::move(text));
    return Finish(std::move(node));
  }
  if (token.kind == TokenKind::kName) {
    ExprPtr node = Make(Expr::Kind::kLiteral);
    const std::string name = Next().text;
    if (name == "true" || name == "True" || name == "false" || name == "False") {
      node->literal = Value::Bool(name == "true" || name == "True");
    } else if (name == "none" || name == "None") {
      node->literal = Value::MakeNone();
    } else {
      node->kind = Expr::Kind::kName;
      node->name = name;
    }
    return Finish(std::move(node));
  }
  if (PeekOperator("[")) return ListLiteral();
  if (PeekOperator("{")) return DictLiteral();
  if (PeekOperator("(")) return ParenthesizedLiteral();
  return Error("want an expression");
}

Result<ExprPtr> ExpressionParser::ParenthesizedLiteral() {
  SkipOperator("(");
  if (SkipOperator(")")) return Make(Expr::Kind::kTuple);
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr inner, TupleOrExpression(true));
  OCTAVO_RETURN_IF_ERROR(WantOperator(")"));
  return inner;
}

Result<ExprPtr> ExpressionParser::ListLiteral() {
  ExprPtr node = Make(Expr::Kind::kList);
  SkipOperator("[");
  while (!SkipOperator("]")) {
    if (!node->children.empty()) OCTAVO_RETURN_IF_ERROR(WantOperator(","));
    if (SkipOperator("]")) break;
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr item, Expression());
    node->children.push_back(std::move(item));
  }
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::DictLiteral() {
  ExprPtr node = Make(Expr::Kind::kDict);
  SkipOperator("{");
  while (!SkipOperator("}")) {
    if (!node->children.empty()) OCTAVO_RETURN_IF_ERROR(WantOperator(","));
    if (SkipOperator("}")) break;
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr key, Expression());
    OCTAVO_RETURN_IF_ERROR(WantOperator(":"));
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr value, Expression());
    node->children.push_back(std::move(key));
    node->children.push_back(std::move(value));
  }
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::Postfix(ExprPtr base) {
  while (PeekOperator(".") || PeekOperator("[") || PeekOperator("(")) {
    if (SkipOperator(".")) {
      if (Peek().kind == TokenKind::kInteger) {  // list.0
        ExprPtr node = Make(Expr::Kind::kSubscript);
        OCTAVO_ASSIGN_OR_RETURN(ExprPtr index, Number());
        node->children.push_back(std::move(base));
        node->children.push_back(std::move(index));
        OCTAVO_ASSIGN_OR_RETURN(base, Finish(std::move(node)));
        continue;
      }
      ExprPtr node = Make(Expr::Kind::kAttribute);
      OCTAVO_ASSIGN_OR_RETURN(node->name, WantName());
      node->children.push_back(std::move(base));
      OCTAVO_ASSIGN_OR_RETURN(base, Finish(std::move(node)));
    } else if (PeekOperator("[")) {
      OCTAVO_ASSIGN_OR_RETURN(base, Subscript(std::move(base)));
    } else {
      ExprPtr node = Make(Expr::Kind::kCall);
      OCTAVO_ASSIGN_OR_RETURN(node->arguments, Call());
      node->children.push_back(std::move(base));
      OCTAVO_ASSIGN_OR_RETURN(base, Finish(std::move(node)));
    }
  }
  return base;
}

Result<ExprPtr> ExpressionParser::SliceBound() {
  if (PeekOperator(":") || PeekOperator("]")) return ExprPtr();
  return Expression();
}

Result<ExprPtr> ExpressionParser::Subscript(ExprPtr base) {
  ExprPtr node = Make(Expr::Kind::kSubscript);
  SkipOperator("[");
  OCTAVO_ASSIGN_OR_RETURN(ExprPtr first, SliceBound());
  node->children.push_back(std::move(base));
  node->children.push_back(std::move(first));
  if (PeekOperator(":")) {
    node->kind = Expr::Kind::kSlice;
    while (node->children.size() < 4 && SkipOperator(":")) {
      OCTAVO_ASSIGN_OR_RETURN(ExprPtr bound, SliceBound());
      node->children.push_back(std::move(bound));
    }
    node->children.resize(4);
  } else if (node->children[1] == nullptr) {
    return Error("want a subscript");
  }
  OCTAVO_RETURN_IF_ERROR(WantOperator("]"));
  return Finish(std::move(node));
}

Result<CallArguments> ExpressionParser::Call() {
  OCTAVO_RETURN_IF_ERROR(WantOperator("("));
  CallArguments arguments;
  while (!SkipOperator(")")) {
    if (!arguments.positional.empty() || !arguments.named.empty()) {
      OCTAVO_RETURN_IF_ERROR(WantOperator(","));
      if (SkipOperator(")")) break;
    }
    if (PeekOperator("*") || PeekOperator("**"))
      return Error("argument unpacking is not supported");
    const bool named = Peek().kind == TokenKind::kName && Peek(1).kind == TokenKind::kOperator &&
                       Peek(1).text == "=";
    std::string name;
    if (named) {
      name = Next().text;
      Next();
    }
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr value, Expression());
    if (named) {
      arguments.named.emplace_back(std::move(name), std::move(value));
    } else {
      arguments.positional.push_back(std::move(value));
    }
  }
  return arguments;
}

Result<ExprPtr> ExpressionParser::Filters(ExprPtr base) {
  while (true) {
    if (SkipOperator("|")) {
      OCTAVO_ASSIGN_OR_RETURN(base, Filter(std::move(base)));
    } else if (SkipName("is")) {
      OCTAVO_ASSIGN_OR_RETURN(base, Test(std::move(base)));
    } else if (PeekOperator("(")) {
      OCTAVO_ASSIGN_OR_RETURN(base, Postfix(std::move(base)));
    } else {
      return base;
    }
  }
}

Result<ExprPtr> ExpressionParser::Filter(ExprPtr base) {
  ExprPtr node = Make(Expr::Kind::kFilter);
  OCTAVO_ASSIGN_OR_RETURN(node->name, WantName());
  node->children.push_back(std::move(base));
  if (PeekOperator("(")) {
    OCTAVO_ASSIGN_OR_RETURN(node->arguments, Call());
  }
  return Finish(std::move(node));
}

Result<ExprPtr> ExpressionParser::Test(ExprPtr base) {
  ExprPtr node = Make(Expr::Kind::kTest);
  node->negated = SkipName("not");
  OCTAVO_ASSIGN_OR_RETURN(node->name, WantName());
  node->children.push_back(std::move(base));
  if (PeekOperator("(")) {
    OCTAVO_ASSIGN_OR_RETURN(node->arguments, Call());
    return Finish(std::move(node));
  }
  // A single argument may follow without parentheses: x is divisibleby 3.
  const TokenKind kind = Peek().kind;
  const bool literal = kind == TokenKind::kString || kind == TokenKind::kInteger ||
                       kind == TokenKind::kFloat || PeekOperator("[") || PeekOperator("{");
  const bool name = kind == TokenKind::kName && !PeekName("else") && !PeekName("or") &&
                    !PeekName("and") && !PeekName("is") && !PeekName("if") && !PeekName("in") &&
                    !PeekName("not");
  if (literal || name) {
    OCTAVO_ASSIGN_OR_RETURN(ExprPtr argument, Primary());
    OCTAVO_ASSIGN_OR_RETURN(argument, Postfix(std::move(argument)));
    node->arguments.positional.push_back(std::move(argument));
  }
  return Finish(std::move(node));
}

}  // namespace octavo::jinja
