// SPDX-License-Identifier: Apache-2.0
// Statements; expressions are in expression_parser.cc.
#include "tokenizer/jinja/parser.h"

#include <fmt/format.h>

#include <initializer_list>

#include "tokenizer/jinja/expression_parser.h"
#include "tokenizer/jinja/lexer.h"

namespace octavo::jinja {
namespace {

constexpr int kMaxBlockDepth = 60;

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Block> Template() {
    OCTAVO_ASSIGN_OR_RETURN(Block block, Body({}));
    if (Peek().kind != TokenKind::kEnd) return Error("unexpected tag");
    return block;
  }

 private:
  using Names = std::initializer_list<std::string_view>;

  static StmtPtr Make(Stmt::Kind kind, int line) {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = line;
    return stmt;
  }

  // Statements up to a block tag whose name is in `ends` (left unread) or the template's end.
  Result<Block> Body(Names ends) {
    if (++depth_ > kMaxBlockDepth) return Error("blocks nested too deep");
    Block block;
    while (Peek().kind != TokenKind::kEnd) {
      if (Peek().kind == TokenKind::kData) {
        StmtPtr stmt = Make(Stmt::Kind::kText, Peek().line);
        stmt->text = Next().text;
        block.push_back(std::move(stmt));
      } else if (Peek().kind == TokenKind::kVariableBegin) {
        OCTAVO_ASSIGN_OR_RETURN(StmtPtr stmt, Output());
        block.push_back(std::move(stmt));
      } else {
        if (AtOneOf(ends)) break;
        Next();  // {%
        OCTAVO_ASSIGN_OR_RETURN(StmtPtr stmt, Statement());
        block.push_back(std::move(stmt));
      }
    }
    --depth_;
    return block;
  }

  bool AtOneOf(Names names) const {
    for (const auto name : names) {
      if (Peek(1).kind == TokenKind::kName && Peek(1).text == name) return true;
    }
    return false;
  }

  Status BlockEnd() {
    if (Peek().kind != TokenKind::kBlockEnd) return Error("want '%}'");
    Next();
    return Status::Ok();
  }

  // "{% name %}"
  Status EndTag(std::string_view name) {
    if (Peek().kind != TokenKind::kBlockBegin || !AtOneOf({name})) {
      return Error(fmt::format("want '{{% {} %}}'", name));
    }
    Next();
    Next();
    return BlockEnd();
  }

  Result<StmtPtr> Output() {
    StmtPtr stmt = Make(Stmt::Kind::kOutput, Next().line);
    OCTAVO_ASSIGN_OR_RETURN(stmt->expression, TupleOrExpression(true));
    if (Peek().kind != TokenKind::kVariableEnd) return Error("want '}}'");
    Next();
    return stmt;
  }

  Result<StmtPtr> Statement() {
    const int line = Peek().line;
    OCTAVO_ASSIGN_OR_RETURN(const std::string name, WantName());
    if (name == "if") return If(line);
    if (name == "for") return For(line);
    if (name == "set") return Set(line);
    if (name == "macro") return Macro(line);
    if (name == "call") return CallBlock(line);
    if (name == "filter") return FilterBlock(line);
    if (name == "with") return With(line);
    if (name == "generation") return Generation(line);
    if (name == "break" || name == "continue") {
      OCTAVO_RETURN_IF_ERROR(BlockEnd());
      return Make(name == "break" ? Stmt::Kind::kBreak : Stmt::Kind::kContinue, line);
    }
    return Unimplemented(
        fmt::format("template line {}: statement '{}' is not supported", line, name.substr(0, 60)));
  }

  Result<StmtPtr> If(int line) {
    StmtPtr stmt = Make(Stmt::Kind::kIf, line);
    bool more = true;
    while (more) {
      Branch branch;
      OCTAVO_ASSIGN_OR_RETURN(branch.condition, TupleOrExpression(false));
      OCTAVO_RETURN_IF_ERROR(BlockEnd());
      OCTAVO_ASSIGN_OR_RETURN(branch.body, Body({"elif", "else", "endif"}));
      stmt->branches.push_back(std::move(branch));
      more = AtOneOf({"elif"});
      if (more) {
        Next();
        Next();
      }
    }
    if (AtOneOf({"else"})) {
      OCTAVO_RETURN_IF_ERROR(EndTag("else"));
      Branch branch;
      OCTAVO_ASSIGN_OR_RETURN(branch.body, Body({"endif"}));
      stmt->branches.push_back(std::move(branch));
    }
    OCTAVO_RETURN_IF_ERROR(EndTag("endif"));
    return stmt;
  }

  Result<StmtPtr> For(int line) {
    StmtPtr stmt = Make(Stmt::Kind::kFor, line);
    OCTAVO_ASSIGN_OR_RETURN(stmt->target, AssignmentTarget(false));
    if (!SkipName("in")) return Error("want 'in'");
    OCTAVO_ASSIGN_OR_RETURN(stmt->expression, TupleOrExpression(false));
    if (SkipName("if")) {
      OCTAVO_ASSIGN_OR_RETURN(stmt->condition, Expression());
    }
    stmt->recursive = SkipName("recursive");
    OCTAVO_RETURN_IF_ERROR(BlockEnd());
    OCTAVO_ASSIGN_OR_RETURN(stmt->body, Body({"else", "endfor"}));
    if (AtOneOf({"else"})) {
      OCTAVO_RETURN_IF_ERROR(EndTag("else"));
      OCTAVO_ASSIGN_OR_RETURN(stmt->else_body, Body({"endfor"}));
    }
    OCTAVO_RETURN_IF_ERROR(EndTag("endfor"));
    if (stmt->recursive) {
      return Unimplemented(
          fmt::format("template line {}: recursive loops are not supported", line));
    }
    return stmt;
  }

  Result<StmtPtr> Set(int line) {
    StmtPtr stmt = Make(Stmt::Kind::kSet, line);
    OCTAVO_ASSIGN_OR_RETURN(stmt->target, AssignmentTarget(true));
    if (SkipOperator("=")) {
      OCTAVO_ASSIGN_OR_RETURN(stmt->expression, TupleOrExpression(true));
      OCTAVO_RETURN_IF_ERROR(BlockEnd());
      return stmt;
    }
    stmt->kind = Stmt::Kind::kSetBlock;
    if (SkipOperator("|")) {
      OCTAVO_ASSIGN_OR_RETURN(stmt->expression, FilterChain());
    }
    OCTAVO_RETURN_IF_ERROR(BlockEnd());
    OCTAVO_ASSIGN_OR_RETURN(stmt->body, Body({"endset"}));
    OCTAVO_RETURN_IF_ERROR(EndTag("endset"));
    return stmt;
  }

  // "(a, b=1)"
  Status Parameters(std::vector<Parameter>* parameters) {
    OCTAVO_RETURN_IF_ERROR(WantOperator("("));
    while (!SkipOperator(")")) {
      if (!parameters->empty()) OCTAVO_RETURN_IF_ERROR(WantOperator(","));
      if (SkipOperator(")")) break;
      Parameter parameter;
      OCTAVO_ASSIGN_OR_RETURN(parameter.name, WantName());
      if (SkipOperator("=")) {
        OCTAVO_ASSIGN_OR_RETURN(parameter.fallback, Expression());
      }
      parameters->push_back(std::move(parameter));
    }
    return Status::Ok();
  }

  Result<StmtPtr> Macro(int line) {
    StmtPtr stmt = Make(Stmt::Kind::kMacro, line);
    OCTAVO_ASSIGN_OR_RETURN(stmt->text, WantName());
    OCTAVO_RETURN_IF_ERROR(Parameters(&stmt->parameters));
    OCTAVO_RETURN_IF_ERROR(BlockEnd());
    OCTAVO_ASSIGN_OR_RETURN(stmt->body, Body({"endmacro"}));
    if (!AtOneOf({"endmacro"})) return Error("want '{% endmacro %}'");
    Next();
    Next();
    SkipName(stmt->text);  // {% endmacro name %}
    OCTAVO_RETURN_IF_ERROR(BlockEnd());
    return stmt;
  }

  Result<StmtPtr> CallBlock(int line) {
    StmtPtr stmt = Make(Stmt::Kind::kCallBlock, line);
    if (PeekOperator("(")) OCTAVO_RETURN_IF_ERROR(Parameters(&stmt->parameters));
    OCTAVO_ASSIGN_OR_RETURN(stmt->expression, Expression());
    if (stmt->expression->kind != Expr::Kind::kCall) return Error("want a call");
    OCTAVO_RETURN_IF_ERROR(BlockEnd());
    OCTAVO_ASSIGN_OR_RETURN(stmt->body, Body({"endcall"}));
    OCTAVO_RETURN_IF_ERROR(EndTag("endcall"));
    return stmt;
  }

  Result<StmtPtr> FilterBlock(int line) {
    StmtPtr stmt = Make(Stmt::Kind::kFilterBlock, line);
    OCTAVO_ASSIGN_OR_RETURN(stmt->expression, FilterChain());
    OCTAVO_RETURN_IF_ERROR(BlockEnd());
    OCTAVO_ASSIGN_OR_RETURN(stmt->body, Body({"endfilter"}));
    OCTAVO_RETURN_IF_ERROR(EndTag("endfilter"));
    return stmt;
  }

  Result<StmtPtr> With(int line) {
    StmtPtr stmt = Make(Stmt::Kind::kWith, line);
    while (Peek().kind != TokenKind::kBlockEnd) {
      if (!stmt->assignments.empty()) OCTAVO_RETURN_IF_ERROR(WantOperator(","));
      OCTAVO_ASSIGN_OR_RETURN(std::string name, WantName());
      auto target = std::make_unique<Expr>();
      target->kind = Expr::Kind::kName;
      target->name = std::move(name);
      OCTAVO_RETURN_IF_ERROR(WantOperator("="));
      OCTAVO_ASSIGN_OR_RETURN(ExprPtr value, Expression());
      stmt->assignments.emplace_back(std::move(target), std::move(value));
    }
    OCTAVO_RETURN_IF_ERROR(BlockEnd());
    OCTAVO_ASSIGN_OR_RETURN(stmt->body, Body({"endwith"}));
    OCTAVO_RETURN_IF_ERROR(EndTag("endwith"));
    return stmt;
  }

  // Marks the assistant's tokens for training; renders as its body.
  Result<StmtPtr> Generation(int line) {
    StmtPtr stmt = Make(Stmt::Kind::kScope, line);
    OCTAVO_RETURN_IF_ERROR(BlockEnd());
    OCTAVO_ASSIGN_OR_RETURN(stmt->body, Body({"endgeneration"}));
    OCTAVO_RETURN_IF_ERROR(EndTag("endgeneration"));
    return stmt;
  }

  int depth_ = 0;
};

}  // namespace

Result<Block> Parse(std::string_view source) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Template();
}

}  // namespace octavo::jinja
