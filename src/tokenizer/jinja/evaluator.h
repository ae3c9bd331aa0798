// SPDX-License-Identifier: Apache-2.0
// Runs a syntax tree.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "octavo/status.h"
#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/budget.h"
#include "tokenizer/jinja/value.h"

namespace octavo::jinja {

struct Limits {
  int64_t max_steps = 20'000'000;
  int64_t max_value_bytes = int64_t{256} << 20;
  size_t max_output_bytes = size_t{32} << 20;
};

// One rendering; not reusable.
class Evaluator {
 public:
  // `now`: the time that strftime_now shows.
  Evaluator(const Limits& limits, Dict variables, std::time_t now);
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  // The template's output. The tree must outlive the call.
  Result<std::string> Run(const Block& block);

  // For filters that apply other filters and tests.
  Budget* budget() { return &budget_; }

 private:
  using Scope = std::vector<std::pair<std::string, Value>>;
  // Scopes from the outermost to the innermost.
  using Environment = std::vector<std::shared_ptr<Scope>>;
  enum class Flow { kNormal, kBreak, kContinue };
  struct ActiveCall {  // a {% call %} block that is being expanded
    const Stmt* block;
    Environment environment;
  };
  class ScopeGuard;
  class DepthGuard;

  // Statements.
  Result<Flow> Execute(const Block& block);
  Result<Flow> ExecuteOne(const Stmt& stmt);
  Result<Flow> ExecuteIf(const Stmt& stmt);
  Result<Flow> ExecuteFor(const Stmt& stmt);
  Result<Flow> ExecuteScoped(const Block& block);
  Status ExecuteSet(const Stmt& stmt);
  Status ExecuteMacro(const Stmt& stmt);
  Status ExecuteCallBlock(const Stmt& stmt);
  Status ExecuteFilterBlock(const Stmt& stmt);
  Result<Flow> ExecuteWith(const Stmt& stmt);
  Result<std::vector<Value>> LoopItems(const Stmt& stmt);
  Result<Value> LoopVariable(const std::vector<Value>& items, size_t index) const;
  Result<std::string> Capture(const Block& block);
  Status Emit(std::string_view text);
  Status Assign(const Expr& target, Value value);
  void SetVariable(std::string_view name, Value value);
  Value Lookup(const std::string& name) const;

  // Expressions.
  Result<Value> Evaluate(const Expr& expr);
  Result<Value> EvaluateContainer(const Expr& expr);
  Result<Value> EvaluateLogic(const Expr& expr);
  Result<Value> EvaluateCompare(const Expr& expr);
  Result<Value> EvaluateConcat(const Expr& expr);
  Result<Value> EvaluateUnary(const Expr& expr);
  Result<Value> EvaluateAccess(const Expr& expr);
  Result<Value> EvaluateCall(const Expr& expr);
  Result<Value> EvaluateTest(const Expr& expr);
  Result<Value> EvaluateFilter(const Expr& expr, const Value* body);
  Result<Arguments> EvaluateArguments(const CallArguments& arguments);
  Result<Value> Call(const Callable& callable, const Arguments& arguments, const Value* caller);
  Result<Value> CallFunction(const std::string& name, const Arguments& arguments);
  Result<Value> CallBody(const Stmt& definition, const Arguments& arguments, const Value* caller,
                         Environment environment);
  Result<Value> MakeNamespace(const Arguments& arguments);

  Limits limits_;
  Budget budget_;
  std::time_t now_;
  Environment environment_;
  std::vector<ActiveCall> active_calls_;
  // Namespaces can refer to each other in circles: emptied at the end so that they are freed.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::string* out_ = nullptr;
  int depth_ = 0;
};

}  // namespace octavo::jinja
