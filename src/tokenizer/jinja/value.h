// SPDX-License-Identifier: Apache-2.0
// Values of the template language: Python's types as far as templates can see them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo::jinja {

class Value;
struct Stmt;

// Containers know how deep they nest: a limit on it keeps copying, printing and destruction, which
// recurse, within the stack. Their weight (values plus bytes of strings, counted once per
// reference) bounds the work on lists that hold the same list many times.
inline constexpr int kMaxNesting = 100;
inline constexpr int64_t kMaxWeight = int64_t{256} << 20;

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  int nesting = 1;
  int64_t weight = 1;
};

// Insertion-ordered; lookup is linear, for the small objects of messages and tools.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int nesting = 1;
  int64_t weight = 1;
  const Value* Find(std::string_view key) const;
  const Value* Find(const Value& key) const;
  void Set(Value key, Value value);
};

// namespace(): the only value whose attributes a template can assign.
struct Namespace {
  std::vector<std::pair<std::string, Value>> fields;
};

// A method with its object ("abc".upper), a global function or a macro.
struct Callable {
  enum class Kind { kMethod, kFunction, kMacro, kCaller };
  Kind kind;
  std::string name;
  std::shared_ptr<const Value> self;  // kMethod
  const Stmt* definition = nullptr;   // kMacro, kCaller: owned by the template
};

struct Undefined {
  std::string name;  // for messages
};
struct None {};

class Value {
 public:
  using Variant =
      std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                   std::shared_ptr<Namespace>, std::shared_ptr<const Callable>>;

  Value() : data_(Undefined{}) {}
  explicit Value(Variant data) : data_(std::move(data)) {}

  static Value MakeUndefined(std::string_view name) { return Value(Undefined{std::string(name)}); }
  static Value MakeNone() { return Value(None{}); }
  static Value Bool(bool value) { return Value(Variant(value)); }
  static Value Int(int64_t value) { return Value(Variant(value)); }
  static Value Float(double value) { return Value(Variant(value)); }
  static Value String(std::string value) {
    return Value(std::make_shared<const std::string>(std::move(value)));
  }
  // Fail when the result passes kMaxNesting or kMaxWeight.
  static Result<Value> MakeList(std::vector<Value> items, bool is_tuple = false);
  static Result<Value> MakeDict(Dict dict);
  static Result<Value> FromJson(const Json& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_string() const { return AsStringPointer() != nullptr; }

  // The part of the given type, or null.
  const std::string* AsStringPointer() const {
    const auto* p = std::get_if<std::shared_ptr<const std::string>>(&data_);
    return p != nullptr ? p->get() : nullptr;
  }
  const List* list() const { return Pointer<const List>(); }
  const Dict* dict() const { return Pointer<const Dict>(); }
  Namespace* name_space() const { return Pointer<Namespace>(); }
  const Callable* callable() const { return Pointer<const Callable>(); }

  // Requires is_string(), is_bool() or is_int(), is_number().
  const std::string& string() const { return *AsStringPointer(); }
  int64_t integer() const { return is_bool() ? std::get<bool>(data_) : std::get<int64_t>(data_); }
  double number() const {
    return is_float() ? std::get<double>(data_) : static_cast<double>(integer());
  }

  // Python's bool().
  bool Truthy() const;
  int nesting() const;
  int64_t weight() const;
  // "str", "int", "dict", ...: Python's name of the type.
  std::string_view TypeName() const;
  const Variant& variant() const { return data_; }

 private:
  template <typename T>
  T* Pointer() const {
    const auto* p = std::get_if<std::shared_ptr<T>>(&data_);
    return p != nullptr ? p->get() : nullptr;
  }
  Variant data_;
};

// Python's ==. Namespaces and callables are equal only to themselves.
bool Equal(const Value& a, const Value& b);

// Python's <, for two numbers, two strings or two lists; an error otherwise.
Result<bool> Less(const Value& a, const Value& b);

// Arguments of a call, filter or test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `index` or named `name`, or null.
  const Value* Find(size_t index, std::string_view name) const;
};

}  // namespace octavo::jinja
