// SPDX-License-Identifier: Apache-2.0
// Expressions and calls; statements are in evaluator.cc.
#include <fmt/format.h>

#include <array>
#include <ctime>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/evaluator.h"
#include "tokenizer/jinja/evaluator_guards.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/operators.h"

namespace octavo::jinja {
namespace {

constexpr int64_t kMaxRange = 1'000'000;

Result<Value> Range(const Arguments& arguments, Budget* budget) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = arguments.positional.size();
  if (count < 1 || count > 3) return InvalidArgument("template: range wants 1 to 3 arguments");
  for (size_t i = 0; i < count; ++i) {
    if (!arguments.positional[i].is_int()) return InvalidArgument("template: range wants integers");
    bounds[count == 1 ? 1 : i] = arguments.positional[i].integer();
  }
  if (bounds[2] == 0) return InvalidArgument("template: range step is zero");
  std::vector<Value> items;
  for (int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1];) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) {
      return ResourceExhausted("template: range too long");
    }
    OCTAVO_RETURN_IF_ERROR(budget->Allocate(sizeof(Value)));
    items.push_back(Value::Int(i));
    if (__builtin_add_overflow(i, bounds[2], &i)) break;
  }
  return Value::MakeList(std::move(items));
}

Result<Value> FormatTime(std::time_t now, const Arguments& arguments) {
  const Value* format = arguments.Find(0, "format");
  if (format == nullptr || !format->is_string()) {
    return InvalidArgument("template: strftime_now wants a format");
  }
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 512> buffer;
  const size_t length =
      std::strftime(buffer.data(), buffer.size(), format->string().c_str(), &local);
  if (length == 0 && !format->string().empty()) {
    return InvalidArgument("template: strftime_now: the format's result is empty or too long");
  }
  return Value::String(std::string(buffer.data(), length));
}

Result<Value> MakeDictValue(const Arguments& arguments) {
  Dict dict;
  if (!arguments.positional.empty()) {
    const Dict* source = arguments.positional[0].dict();
    if (source == nullptr) return InvalidArgument("template: dict wants a dict or named values");
    dict = *source;
  }
  for (const auto& [name, value] : arguments.named) dict.Set(Value::String(name), value);
  return Value::MakeDict(std::move(dict));
}

}  // namespace

Result<Value> Evaluator::Evaluate(const Expr& expr) {
  const DepthGuard guard(&depth_);
  OCTAVO_RETURN_IF_ERROR(guard.Check());
  OCTAVO_RETURN_IF_ERROR(budget_.Spend(1));
  using Kind = Expr::Kind;
  switch (expr.kind) {
    case Kind::kLiteral:
      return expr.literal;
    case Kind::kName:
      return Lookup(expr.name);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
      return EvaluateContainer(expr);
    case Kind::kAttribute:
    case Kind::kSubscript:
    case Kind::kSlice:
      return EvaluateAccess(expr);
    case Kind::kCall:
      return EvaluateCall(expr);
    case Kind::kFilter:
      return EvaluateFilter(expr, nullptr);
    case Kind::kTest:
      return EvaluateTest(expr);
    case Kind::kUnary:
      return EvaluateUnary(expr);
    case Kind::kBinary: {
      OCTAVO_ASSIGN_OR_RETURN(const Value a, Evaluate(*expr.children[0]));
      OCTAVO_ASSIGN_OR_RETURN(const Value b, Evaluate(*expr.children[1]));
      return BinaryOperation(expr.name, a, b, &budget_);
    }
    case Kind::kConcat:
      return EvaluateConcat(expr);
    case Kind::kAnd:
    case Kind::kOr:
    case Kind::kConditional:
      return EvaluateLogic(expr);
    case Kind::kCompare:
      return EvaluateCompare(expr);
  }
  return Internal("template: unknown expression");
}

Result<Value> Evaluator::EvaluateContainer(const Expr& expr) {
  std::vector<Value> items;
  for (const ExprPtr& child : expr.children) {
    OCTAVO_ASSIGN_OR_RETURN(Value item, Evaluate(*child));
    items.push_back(std::move(item));
  }
  OCTAVO_RETURN_IF_ERROR(
      budget_.Allocate(static_cast<int64_t>((items.size() + 2) * sizeof(Value))));
  if (expr.kind != Expr::Kind::kDict) {
    return Value::MakeList(std::move(items), expr.kind == Expr::Kind::kTuple);
  }
  Dict dict;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    OCTAVO_RETURN_IF_ERROR(budget_.Spend(static_cast<int64_t>(dict.items.size())));
    dict.Set(std::move(items[i]), std::move(items[i + 1]));
  }
  return Value::MakeDict(std::move(dict));
}

Result<Value> Evaluator::EvaluateLogic(const Expr& expr) {
  OCTAVO_ASSIGN_OR_RETURN(Value first, Evaluate(*expr.children[0]));
  const bool truthy = first.Truthy();
  if (expr.kind == Expr::Kind::kConditional) {
    const ExprPtr& chosen = expr.children[truthy ? 1 : 2];
    if (chosen == nullptr) return Value::MakeUndefined("the inline if-expression without else");
    return Evaluate(*chosen);
  }
  if (truthy == (expr.kind == Expr::Kind::kOr)) return first;
  return Evaluate(*expr.children[1]);
}

Result<Value> Evaluator::EvaluateCompare(const Expr& expr) {
  OCTAVO_ASSIGN_OR_RETURN(Value left, Evaluate(*expr.children[0]));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    OCTAVO_ASSIGN_OR_RETURN(Value right, Evaluate(*expr.children[i + 1]));
    OCTAVO_ASSIGN_OR_RETURN(const bool holds, Comparison(expr.operators[i], left, right, &budget_));
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Result<Value> Evaluator::EvaluateConcat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& child : expr.children) {
    OCTAVO_ASSIGN_OR_RETURN(const Value value, Evaluate(*child));
    OCTAVO_RETURN_IF_ERROR(budget_.Allocate(value.weight()));
    text += ToStr(value);
  }
  return Value::String(std::move(text));
}

Result<Value> Evaluator::EvaluateUnary(const Expr& expr) {
  OCTAVO_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr.children[0]));
  if (expr.name == "not") return Value::Bool(!value.Truthy());
  if (!value.is_number()) {
    return InvalidArgument(fmt::format("template line {}: bad operand type for unary {}: '{}'",
                                       expr.line, expr.name, value.TypeName()));
  }
  return BinaryOperation(expr.name, Value::Int(0), value, &budget_);
}

Result<Value> Evaluator::EvaluateAccess(const Expr& expr) {
  OCTAVO_ASSIGN_OR_RETURN(const Value object, Evaluate(*expr.children[0]));
  if (expr.kind == Expr::Kind::kAttribute) return GetAttribute(object, expr.name);
  if (object.is_string()) OCTAVO_RETURN_IF_ERROR(budget_.Spend(object.weight() / 16));
  if (expr.kind == Expr::Kind::kSubscript) {
    OCTAVO_ASSIGN_OR_RETURN(const Value key, Evaluate(*expr.children[1]));
    return GetItem(object, key);
  }
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.children[i + 1] == nullptr) continue;
    OCTAVO_ASSIGN_OR_RETURN(bounds[i], Evaluate(*expr.children[i + 1]));
  }
  return Slice(object, bounds[0], bounds[1], bounds[2], &budget_);
}

Result<Arguments> Evaluator::EvaluateArguments(const CallArguments& arguments) {
  Arguments result;
  for (const ExprPtr& expr : arguments.positional) {
    OCTAVO_ASSIGN_OR_RETURN(Value value, Evaluate(*expr));
    result.positional.push_back(std::move(value));
  }
  for (const auto& [name, expr] : arguments.named) {
    OCTAVO_ASSIGN_OR_RETURN(Value value, Evaluate(*expr));
    result.named.emplace_back(name, std::move(value));
  }
  return result;
}

Result<Value> Evaluator::EvaluateFilter(const Expr& expr, const Value* body) {
  Value input;
  if (expr.kind != Expr::Kind::kFilter) return Evaluate(expr);
  const DepthGuard guard(&depth_);
  OCTAVO_RETURN_IF_ERROR(guard.Check());
  if (expr.children[0] == nullptr) {
    input = body != nullptr ? *body : Value();
  } else {
    OCTAVO_ASSIGN_OR_RETURN(input, EvaluateFilter(*expr.children[0], body));
  }
  OCTAVO_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.arguments));
  OCTAVO_RETURN_IF_ERROR(budget_.Spend(1 + input.weight() / 32));
  auto result = ApplyFilter(expr.name, input, arguments, &budget_);
  if (result.ok()) return result;
  return std::move(result).status().WithContext(fmt::format("template line {}", expr.line));
}

Result<Value> Evaluator::EvaluateTest(const Expr& expr) {
  OCTAVO_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr.children[0]));
  OCTAVO_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.arguments));
  OCTAVO_ASSIGN_OR_RETURN(const bool holds, ApplyTest(expr.name, value, arguments, &budget_));
  return Value::Bool(holds != expr.negated);
}

Result<Value> Evaluator::EvaluateCall(const Expr& expr) {
  OCTAVO_ASSIGN_OR_RETURN(const Value target, Evaluate(*expr.children[0]));
  if (const auto* undefined = std::get_if<Undefined>(&target.variant())) {
    return InvalidArgument(
        fmt::format("template line {}: '{}' is undefined", expr.line, undefined->name));
  }
  if (target.callable() == nullptr) {
    return InvalidArgument(
        fmt::format("template line {}: '{}' is not callable", expr.line, target.TypeName()));
  }
  OCTAVO_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.arguments));
  return Call(*target.callable(), arguments, nullptr);
}

Result<Value> Evaluator::Call(const Callable& callable, const Arguments& arguments,
                              const Value* caller) {
  switch (callable.kind) {
    case Callable::Kind::kMethod:
      OCTAVO_RETURN_IF_ERROR(budget_.Spend(1 + callable.self->weight() / 32));
      return CallMethod(*callable.self, callable.name, arguments, &budget_);
    case Callable::Kind::kFunction:
      return CallFunction(callable.name, arguments);
    case Callable::Kind::kMacro:
      return CallBody(*callable.definition, arguments, caller, {environment_.front()});
    case Callable::Kind::kCaller:
      for (auto call = active_calls_.rbegin(); call != active_calls_.rend(); ++call) {
        if (call->block == callable.definition) {
          return CallBody(*call->block, arguments, nullptr, call->environment);
        }
      }
      return InvalidArgument("template: caller() outside of its call block");
  }
  return Internal("template: unknown callable");
}

Result<Value> Evaluator::CallBody(const Stmt& definition, const Arguments& arguments,
                                  const Value* caller, Environment environment) {
  const DepthGuard guard(&depth_);
  OCTAVO_RETURN_IF_ERROR(guard.Check());
  if (arguments.positional.size() > definition.parameters.size()) {
    return InvalidArgument(fmt::format("template line {}: too many arguments, want at most {}",
                                       definition.line, definition.parameters.size()));
  }
  environment.push_back(std::make_shared<Scope>());
  environment_.swap(environment);
  Status status;
  for (size_t i = 0; i < definition.parameters.size() && status.ok(); ++i) {
    const Parameter& parameter = definition.parameters[i];
    if (const Value* given = arguments.Find(i, parameter.name)) {
      SetVariable(parameter.name, *given);
    } else if (parameter.fallback != nullptr) {
      Result<Value> fallback = Evaluate(*parameter.fallback);
      status = fallback.status();
      if (fallback.ok()) SetVariable(parameter.name, std::move(fallback).value());
    } else {
      SetVariable(parameter.name, Value::MakeUndefined(parameter.name));
    }
  }
  if (caller != nullptr) SetVariable("caller", *caller);
  Result<std::string> text = status.ok() ? Capture(definition.body) : Result<std::string>(status);
  environment_.swap(environment);
  if (!text.ok()) return std::move(text).status();
  return Value::String(std::move(text).value());
}

Result<Value> Evaluator::CallFunction(const std::string& name, const Arguments& arguments) {
  if (name == "range") return Range(arguments, &budget_);
  if (name == "namespace") return MakeNamespace(arguments);
  if (name == "strftime_now") return FormatTime(now_, arguments);
  if (name == "dict") return MakeDictValue(arguments);
  const Value* message = arguments.Find(0, "message");
  return InvalidArgument(
      fmt::format("template: {}", message != nullptr ? ToStr(*message) : "raise_exception"));
}

Result<Value> Evaluator::MakeNamespace(const Arguments& arguments) {
  OCTAVO_RETURN_IF_ERROR(budget_.Allocate(256));
  OCTAVO_ASSIGN_OR_RETURN(const Value fields, MakeDictValue(arguments));
  auto space = std::make_shared<Namespace>();
  for (const auto& [key, value] : fields.dict()->items)
    space->fields.emplace_back(ToStr(key), value);
  namespaces_.push_back(space);
  return Value(std::move(space));
}

}  // namespace octavo::jinja
