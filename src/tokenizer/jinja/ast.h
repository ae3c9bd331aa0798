// SPDX-License-Identifier: Apache-2.0
// Syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/value.h"

namespace octavo::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

struct Expr {
  enum class Kind {
    kLiteral,      // literal
    kName,         // name
    kList,         // children
    kTuple,        // children
    kDict,         // children: key, value, key, value ...
    kAttribute,    // children[0].name
    kSubscript,    // children[0][children[1]]
    kSlice,        // children[0][children[1]:children[2]:children[3]], each bound may be null
    kCall,         // children[0](arguments)
    kFilter,       // children[0] | name(arguments); a null child stands for a filter block's body
    kTest,         // children[0] is [not] name(arguments)
    kUnary,        // name ("-", "+", "not") children[0]
    kBinary,       // children[0] name children[1]
    kConcat,       // children joined with ~
    kAnd,          // children[0] and children[1]
    kOr,           // children[0] or children[1]
    kCompare,      // children[0] operators[0] children[1] operators[1] ...
    kConditional,  // children[1] if children[0] else children[2] (may be null)
  };
  Kind kind;
  int line = 0;
  int depth = 1;  // levels of nested expressions
  std::string name;
  bool negated = false;  // kTest
  Value literal;
  std::vector<ExprPtr> children;
  std::vector<std::string> operators;
  CallArguments arguments;
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Block = std::vector<StmtPtr>;

struct Parameter {
  std::string name;
  ExprPtr fallback;  // may be null
};

struct Branch {
  ExprPtr condition;  // null: else
  Block body;
};

struct Stmt {
  enum class Kind {
    kText,         // text
    kOutput,       // expression
    kIf,           // branches
    kFor,          // target in expression [if condition]: body, else_body
    kSet,          // target = expression
    kSetBlock,     // target = body (through filter `expression`, which may be null)
    kMacro,        // text (name), parameters, body
    kCallBlock,    // expression is the call; parameters, body become caller()
    kFilterBlock,  // expression is the filter chain around body
    kWith,         // assignments (targets, values), body
    kScope,        // body, e.g. a generation block
    kBreak,
    kContinue,
  };
  Kind kind;
  int line = 0;
  std::string text;
  ExprPtr target;
  ExprPtr expression;
  ExprPtr condition;
  bool recursive = false;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  Block body;
  Block else_body;
};

}  // namespace octavo::jinja
