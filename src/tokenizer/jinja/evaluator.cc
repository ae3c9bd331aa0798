// SPDX-License-Identifier: Apache-2.0
// Statements; expressions are in expressions.cc.
#include "tokenizer/jinja/evaluator.h"

#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/jinja/evaluator_guards.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/operators.h"

namespace octavo::jinja {

Evaluator::Evaluator(const Limits& limits, Dict variables, std::time_t now)
    : limits_(limits), budget_(limits.max_steps, limits.max_value_bytes), now_(now) {
  auto root = std::make_shared<Scope>();
  for (auto& [key, value] : variables.items) root->emplace_back(ToStr(key), std::move(value));
  environment_.push_back(std::move(root));
}

Evaluator::~Evaluator() {
  for (const auto& space : namespaces_) space->fields.clear();
}

Result<std::string> Evaluator::Run(const Block& block) {
  std::string output;
  out_ = &output;
  OCTAVO_ASSIGN_OR_RETURN(const Flow flow, Execute(block));
  if (flow != Flow::kNormal)
    return InvalidArgument("template: break or continue outside of a loop");
  return output;
}

Status Evaluator::Emit(std::string_view text) {
  if (text.size() > limits_.max_output_bytes - out_->size()) {
    return ResourceExhausted(
        fmt::format("template: output longer than {} bytes", limits_.max_output_bytes));
  }
  out_->append(text);
  return budget_.Spend(static_cast<int64_t>(text.size() / 64));
}

Result<Evaluator::Flow> Evaluator::Execute(const Block& block) {
  const DepthGuard guard(&depth_);
  OCTAVO_RETURN_IF_ERROR(guard.Check());
  for (const StmtPtr& stmt : block) {
    OCTAVO_RETURN_IF_ERROR(budget_.Spend(1));
    OCTAVO_ASSIGN_OR_RETURN(const Flow flow, ExecuteOne(*stmt));
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Result<Evaluator::Flow> Evaluator::ExecuteOne(const Stmt& stmt) {
  const auto done = [](Status status) -> Result<Flow> {
    if (!status.ok()) return status;
    return Flow::kNormal;
  };
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      return done(Emit(stmt.text));
    case Stmt::Kind::kOutput: {
      OCTAVO_ASSIGN_OR_RETURN(const Value value, Evaluate(*stmt.expression));
      OCTAVO_RETURN_IF_ERROR(budget_.Spend(value.weight() / 32));
      return done(value.is_string() ? Emit(value.string()) : Emit(ToStr(value)));
    }
    case Stmt::Kind::kIf:
      return ExecuteIf(stmt);
    case Stmt::Kind::kFor:
      return ExecuteFor(stmt);
    case Stmt::Kind::kSet:
    case Stmt::Kind::kSetBlock:
      return done(ExecuteSet(stmt));
    case Stmt::Kind::kMacro:
      return done(ExecuteMacro(stmt));
    case Stmt::Kind::kCallBlock:
      return done(ExecuteCallBlock(stmt));
    case Stmt::Kind::kFilterBlock:
      return done(ExecuteFilterBlock(stmt));
    case Stmt::Kind::kWith:
      return ExecuteWith(stmt);
    case Stmt::Kind::kScope:
      return Execute(stmt.body);
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  return Internal("template: unknown statement");
}

Result<Evaluator::Flow> Evaluator::ExecuteIf(const Stmt& stmt) {
  for (const Branch& branch : stmt.branches) {
    if (branch.condition != nullptr) {
      OCTAVO_ASSIGN_OR_RETURN(const Value condition, Evaluate(*branch.condition));
      if (!condition.Truthy()) continue;
    }
    return Execute(branch.body);
  }
  return Flow::kNormal;
}

Result<std::vector<Value>> Evaluator::LoopItems(const Stmt& stmt) {
  OCTAVO_ASSIGN_OR_RETURN(const Value iterable, Evaluate(*stmt.expression));
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(iterable, &budget_));
  if (stmt.condition == nullptr) return items;
  std::vector<Value> kept;
  const ScopeGuard scope(&environment_);
  for (Value& item : items) {
    OCTAVO_RETURN_IF_ERROR(Assign(*stmt.target, item));
    OCTAVO_ASSIGN_OR_RETURN(const Value condition, Evaluate(*stmt.condition));
    if (condition.Truthy()) kept.push_back(std::move(item));
  }
  return kept;
}

Result<Value> Evaluator::LoopVariable(const std::vector<Value>& items, size_t index) const {
  const auto count = static_cast<int64_t>(items.size());
  const auto at = static_cast<int64_t>(index);
  const auto neighbour = [&](int64_t i) {
    return i >= 0 && i < count ? items[static_cast<size_t>(i)] : Value::MakeUndefined("loop item");
  };
  Dict loop;
  const auto set = [&loop](const char* name, Value value) {
    loop.items.emplace_back(Value::String(name), std::move(value));
  };
  set("index", Value::Int(at + 1));
  set("index0", Value::Int(at));
  set("first", Value::Bool(at == 0));
  set("last", Value::Bool(at + 1 == count));
  set("length", Value::Int(count));
  set("revindex", Value::Int(count - at));
  set("revindex0", Value::Int(count - at - 1));
  set("previtem", neighbour(at - 1));
  set("nextitem", neighbour(at + 1));
  set("depth", Value::Int(1));
  set("depth0", Value::Int(0));
  set("cycle", Value(std::make_shared<const Callable>(
                   Callable{Callable::Kind::kMethod, "cycle",
                            std::make_shared<const Value>(Value::Int(at)), nullptr})));
  return Value::MakeDict(std::move(loop));
}

Result<Evaluator::Flow> Evaluator::ExecuteFor(const Stmt& stmt) {
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<Value> items, LoopItems(stmt));
  if (items.empty()) return ExecuteScoped(stmt.else_body);
  for (size_t i = 0; i < items.size(); ++i) {
    // Making `loop` costs about as much as this many simple operations.
    OCTAVO_RETURN_IF_ERROR(budget_.Spend(32));
    const ScopeGuard scope(&environment_);
    OCTAVO_ASSIGN_OR_RETURN(Value loop, LoopVariable(items, i));
    SetVariable("loop", std::move(loop));
    OCTAVO_RETURN_IF_ERROR(Assign(*stmt.target, items[i]));
    OCTAVO_ASSIGN_OR_RETURN(const Flow flow, Execute(stmt.body));
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNormal;
}

Result<Evaluator::Flow> Evaluator::ExecuteScoped(const Block& block) {
  const ScopeGuard scope(&environment_);
  return Execute(block);
}

Result<Evaluator::Flow> Evaluator::ExecuteWith(const Stmt& stmt) {
  std::vector<Value> values;
  for (const auto& [target, expression] : stmt.assignments) {
    OCTAVO_ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    values.push_back(std::move(value));
  }
  const ScopeGuard scope(&environment_);
  for (size_t i = 0; i < values.size(); ++i) {
    OCTAVO_RETURN_IF_ERROR(Assign(*stmt.assignments[i].first, std::move(values[i])));
  }
  return Execute(stmt.body);
}

Result<std::string> Evaluator::Capture(const Block& block) {
  std::string captured;
  std::string* outer = std::exchange(out_, &captured);
  const Result<Flow> flow = ExecuteScoped(block);
  out_ = outer;
  if (!flow.ok()) return flow.status();
  if (*flow != Flow::kNormal) {
    return InvalidArgument("template: break or continue outside of a loop");
  }
  OCTAVO_RETURN_IF_ERROR(budget_.Allocate(static_cast<int64_t>(captured.size())));
  return captured;
}

Status Evaluator::ExecuteSet(const Stmt& stmt) {
  if (stmt.kind == Stmt::Kind::kSet) {
    OCTAVO_ASSIGN_OR_RETURN(Value value, Evaluate(*stmt.expression));
    return Assign(*stmt.target, std::move(value));
  }
  OCTAVO_ASSIGN_OR_RETURN(std::string text, Capture(stmt.body));
  Value value = Value::String(std::move(text));
  if (stmt.expression != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(value, EvaluateFilter(*stmt.expression, &value));
  }
  return Assign(*stmt.target, std::move(value));
}

Status Evaluator::ExecuteFilterBlock(const Stmt& stmt) {
  OCTAVO_ASSIGN_OR_RETURN(std::string text, Capture(stmt.body));
  const Value body = Value::String(std::move(text));
  OCTAVO_ASSIGN_OR_RETURN(const Value value, EvaluateFilter(*stmt.expression, &body));
  return Emit(ToStr(value));
}

Status Evaluator::ExecuteMacro(const Stmt& stmt) {
  SetVariable(stmt.text, Value(std::make_shared<const Callable>(
                             Callable{Callable::Kind::kMacro, stmt.text, nullptr, &stmt})));
  return Status::Ok();
}

Status Evaluator::ExecuteCallBlock(const Stmt& stmt) {
  const Expr& call = *stmt.expression;
  OCTAVO_ASSIGN_OR_RETURN(const Value target, Evaluate(*call.children[0]));
  if (target.callable() == nullptr) {
    return InvalidArgument(
        fmt::format("template line {}: '{}' is not callable", stmt.line, target.TypeName()));
  }
  OCTAVO_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(call.arguments));
  const Value caller(std::make_shared<const Callable>(
      Callable{Callable::Kind::kCaller, "caller", nullptr, &stmt}));
  active_calls_.push_back({&stmt, environment_});
  Result<Value> result = Call(*target.callable(), arguments, &caller);
  active_calls_.pop_back();
  if (!result.ok()) return std::move(result).status();
  return Emit(ToStr(*result));
}

Value Evaluator::Lookup(const std::string& name) const {
  for (auto scope = environment_.rbegin(); scope != environment_.rend(); ++scope) {
    for (const auto& [key, value] : **scope) {
      if (key == name) return value;
    }
  }
  for (const char* function : {"range", "namespace", "raise_exception", "strftime_now", "dict"}) {
    if (name == function) {
      return Value(std::make_shared<const Callable>(
          Callable{Callable::Kind::kFunction, name, nullptr, nullptr}));
    }
  }
  return Value::MakeUndefined(name);
}

void Evaluator::SetVariable(std::string_view name, Value value) {
  Scope& scope = *environment_.back();
  for (auto& [key, old] : scope) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  scope.emplace_back(std::string(name), std::move(value));
}

Status Evaluator::Assign(const Expr& target, Value value) {
  if (target.kind == Expr::Kind::kName) {
    SetVariable(target.name, std::move(value));
    return Status::Ok();
  }
  if (target.kind == Expr::Kind::kAttribute) {
    const Value object = Lookup(target.children[0]->name);
    Namespace* space = object.name_space();
    if (space == nullptr) {
      return InvalidArgument(
          fmt::format("template line {}: cannot assign attribute '{}' on a non-namespace object",
                      target.line, target.name));
    }
    for (auto& [key, old] : space->fields) {
      if (key == target.name) {
        old = std::move(value);
        return Status::Ok();
      }
    }
    space->fields.emplace_back(target.name, std::move(value));
    return Status::Ok();
  }
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(value, &budget_));
  if (items.size() != target.children.size()) {
    return InvalidArgument(fmt::format("template line {}: {} values for {} names", target.line,
                                       items.size(), target.children.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    OCTAVO_RETURN_IF_ERROR(Assign(*target.children[i], std::move(items[i])));
  }
  return Status::Ok();
}

}  // namespace octavo::jinja
