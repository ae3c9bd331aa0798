// SPDX-License-Identifier: Apache-2.0
// Jinja2's tests ("x is defined").
#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/unicode.h"

namespace octavo::jinja {
namespace {

using Predicate = bool (*)(const Value& value);

struct TestEntry {
  std::string_view name;
  Predicate function;
};

constexpr TestEntry kTests[] = {
    {"defined", [](const Value& v) { return !v.is_undefined(); }},
    {"undefined", [](const Value& v) { return v.is_undefined(); }},
    {"none", [](const Value& v) { return v.is_none(); }},
    {"string", [](const Value& v) { return v.is_string(); }},
    {"mapping", [](const Value& v) { return v.dict() != nullptr; }},
    {"number", [](const Value& v) { return v.is_number(); }},
    {"integer", [](const Value& v) { return v.is_int(); }},
    {"float", [](const Value& v) { return v.is_float(); }},
    {"boolean", [](const Value& v) { return v.is_bool(); }},
    {"true", [](const Value& v) { return v.is_bool() && v.integer() != 0; }},
    {"false", [](const Value& v) { return v.is_bool() && v.integer() == 0; }},
    {"callable", [](const Value& v) { return v.callable() != nullptr; }},
    // Undefined can be iterated (it is empty), as in Jinja2.
    {"iterable",
     [](const Value& v) {
       return v.is_string() || v.list() != nullptr || v.dict() != nullptr || v.is_undefined();
     }},
    {"sequence",
     [](const Value& v) {
       return v.is_string() || v.list() != nullptr || v.dict() != nullptr || v.is_undefined();
     }},
    {"lower", [](const Value& v) { return v.is_string() && LowerCase(v.string()) == v.string(); }},
    {"upper", [](const Value& v) { return v.is_string() && UpperText(v.string()) == v.string(); }},
    {"odd", [](const Value& v) { return v.is_int() && v.integer() % 2 != 0; }},
    {"even", [](const Value& v) { return v.is_int() && v.integer() % 2 == 0; }},
};

struct ComparisonEntry {
  std::string_view name;
  std::string_view op;
};

constexpr ComparisonEntry kComparisons[] = {
    {"equalto", "=="}, {"eq", "=="}, {"==", "=="}, {"sameas", "=="},     {"ne", "!="},
    {"!=", "!="},      {"lt", "<"},  {"<", "<"},   {"lessthan", "<"},    {"le", "<="},
    {"<=", "<="},      {"gt", ">"},  {">", ">"},   {"greaterthan", ">"}, {"ge", ">="},
    {">=", ">="},      {"in", "in"},
};

}  // namespace

Result<bool> ApplyTest(const std::string& name, const Value& value, const Arguments& arguments,
                       Budget* budget) {
  for (const TestEntry& entry : kTests) {
    if (entry.name == name) return entry.function(value);
  }
  const Value* argument = arguments.Find(0, "other");
  for (const ComparisonEntry& entry : kComparisons) {
    if (entry.name != name) continue;
    if (argument == nullptr) {
      return InvalidArgument(fmt::format("template: test '{}' wants an argument", name));
    }
    return Comparison(entry.op, value, *argument, budget);
  }
  if (name == "divisibleby") {
    if (argument == nullptr || !argument->is_int() || argument->integer() == 0 || !value.is_int()) {
      return InvalidArgument("template: test 'divisibleby' wants integers");
    }
    return argument->integer() == -1 || value.integer() % argument->integer() == 0;
  }
  return Unimplemented(fmt::format("template: test '{}' is not supported", name.substr(0, 60)));
}

}  // namespace octavo::jinja
