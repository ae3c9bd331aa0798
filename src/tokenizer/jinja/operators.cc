// SPDX-License-Identifier: Apache-2.0
// Arithmetic, comparison and access with Python's rules.
#include "tokenizer/jinja/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "tokenizer/jinja/format.h"
#include "tokenizer/utf8.h"

namespace octavo::jinja {
namespace {

Status Unsupported(std::string_view op, const Value& a, const Value& b) {
  const Value& undefined = a.is_undefined() ? a : b;
  if (const auto* u = std::get_if<Undefined>(&undefined.variant())) {
    return InvalidArgument(fmt::format("template: '{}' is undefined", u->name));
  }
  return InvalidArgument(fmt::format("template: unsupported operand types for {}: '{}' and '{}'",
                                     op, a.TypeName(), b.TypeName()));
}

Status Overflow() { return InvalidArgument("template: integer overflow"); }

Result<Value> IntegerOperation(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") overflow = __builtin_add_overflow(a, b, &result);
  if (op == "-") overflow = __builtin_sub_overflow(a, b, &result);
  if (op == "*") overflow = __builtin_mul_overflow(a, b, &result);
  if (op == "//" || op == "%") {  // rounded down, as Python does
    if (b == -1) return IntegerOperation(op == "%" ? "*" : "-", 0, op == "%" ? 0 : a);
    const int64_t remainder = a % b;
    const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
    result = op == "//" ? a / b - adjust : remainder + (adjust ? b : 0);
  }
  if (op == "**") {
    result = 1;
    for (int64_t i = 0; i < b && !overflow && a != 1 && a != 0; ++i) {
      overflow = __builtin_mul_overflow(result, a, &result);
      if (a == -1 && i > 1) return Value::Int(b % 2 == 0 ? 1 : -1);
    }
    if (a == 0 && b > 0) result = 0;
  }
  if (overflow) return Overflow();
  return Value::Int(result);
}

Result<Value> NumberOperation(std::string_view op, const Value& a, const Value& b) {
  const double x = a.number();
  const double y = b.number();
  if (y == 0 && (op == "/" || op == "//" || op == "%")) {
    return InvalidArgument("template: division by zero");
  }
  const bool integers = !a.is_float() && !b.is_float();
  if (integers && op != "/" && !(op == "**" && b.integer() < 0)) {
    return IntegerOperation(op, a.integer(), b.integer());
  }
  if (op == "+") return Value::Float(x + y);
  if (op == "-") return Value::Float(x - y);
  if (op == "*") return Value::Float(x * y);
  if (op == "/") return Value::Float(x / y);
  if (op == "//") return Value::Float(std::floor(x / y));
  if (op == "%") return Value::Float(x - y * std::floor(x / y));
  return Value::Float(std::pow(x, y));
}

Result<Value> Repeat(const Value& a, int64_t count, Budget* budget) {
  count = std::max<int64_t>(count, 0);
  const size_t unit = a.is_string() ? a.string().size() : a.list()->items.size() * sizeof(Value);
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(unit) + 1, count));
  if (a.is_string()) {
    std::string text;
    for (int64_t i = 0; i < count; ++i) text += a.string();
    return Value::String(std::move(text));
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < count; ++i) {
    items.insert(items.end(), a.list()->items.begin(), a.list()->items.end());
  }
  return Value::MakeList(std::move(items), a.list()->is_tuple);
}

// "%s items" % 3: the conversions that templates use.
Result<Value> PercentFormat(const std::string& pattern, const Value& argument, Budget* budget) {
  const List* tuple =
      argument.list() != nullptr && argument.list()->is_tuple ? argument.list() : nullptr;
  const std::vector<Value> single = {argument};
  const std::vector<Value>& values = tuple != nullptr ? tuple->items : single;
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      out.push_back(pattern[i]);
      continue;
    }
    const char conversion = ++i < pattern.size() ? pattern[i] : '\0';
    if (conversion == '%') {
      out.push_back('%');
      continue;
    }
    if (conversion != 's' && conversion != 'd' && conversion != 'r') {
      return Unimplemented("template: '%' formatting supports %s, %d and %r only");
    }
    if (next >= values.size())
      return InvalidArgument("template: too few arguments for '%' formatting");
    const Value& value = values[next++];
    OCTAVO_RETURN_IF_ERROR(budget->Allocate(value.weight()));
    if (conversion == 'd' && !value.is_number()) return Unsupported("%d", value, value);
    out += conversion == 'r'                        ? ToRepr(value)
           : conversion == 'd' && !value.is_float() ? fmt::format("{}", value.integer())
           : conversion == 'd' ? fmt::format("{:.0f}", std::trunc(value.number()))
                               : ToStr(value);
  }
  if (next < values.size())
    return InvalidArgument("template: too many arguments for '%' formatting");
  return Value::String(std::move(out));
}

Result<bool> Contains(const Value& container, const Value& item, Budget* budget) {
  if (container.is_undefined()) return false;
  if (container.is_string()) {
    if (!item.is_string()) return Unsupported("in", item, container);
    OCTAVO_RETURN_IF_ERROR(SpendSearch(container.string(), item.string(), budget));
    return container.string().find(item.string()) != std::string::npos;
  }
  OCTAVO_RETURN_IF_ERROR(budget->Spend(container.weight() / 32));
  if (const Dict* dict = container.dict()) return dict->Find(item) != nullptr;
  if (const List* list = container.list()) {
    return std::any_of(list->items.begin(), list->items.end(),
                       [&item](const Value& v) { return Equal(v, item); });
  }
  return Unsupported("in", item, container);
}

Result<int64_t> Bound(const Value& value, int64_t fallback) {
  if (value.is_none() || value.is_undefined()) return fallback;
  if (!value.is_int() && !value.is_bool()) {
    return InvalidArgument(
        fmt::format("template: slice bound is '{}', want an integer", value.TypeName()));
  }
  return value.integer();
}

// Positions that Python's slice selects from a sequence of `size`.
Result<std::vector<int64_t>> SlicePositions(int64_t size, const Value& start, const Value& stop,
                                            const Value& step) {
  OCTAVO_ASSIGN_OR_RETURN(const int64_t stride, Bound(step, 1));
  if (stride == 0) return InvalidArgument("template: slice step is zero");
  const bool forward = stride > 0;
  OCTAVO_ASSIGN_OR_RETURN(int64_t first, Bound(start, forward ? 0 : size - 1));
  const bool open_end = stop.is_none() || stop.is_undefined();
  OCTAVO_ASSIGN_OR_RETURN(int64_t last, Bound(stop, 0));
  const auto clamp = [&](int64_t at) {
    if (at < 0) at = std::max<int64_t>(at + size, forward ? 0 : -1);
    return std::min(at, forward ? size : size - 1);
  };
  first = clamp(first);
  last = open_end ? (forward ? size : -1) : clamp(last);
  std::vector<int64_t> positions;
  for (int64_t at = first; forward ? at < last : at > last;) {
    positions.push_back(at);
    if (__builtin_add_overflow(at, stride, &at)) break;
  }
  return positions;
}

}  // namespace

Status SpendSearch(std::string_view text, std::string_view needle, Budget* budget) {
  const auto n = static_cast<int64_t>(text.size());
  const auto m = static_cast<int64_t>(std::min<size_t>(needle.size(), size_t{1} << 24));
  return budget->Spend(n / 64 + n / 1024 * m / 16);
}

Result<Value> BinaryOperation(std::string_view op, const Value& a, const Value& b, Budget* budget) {
  if (a.is_number() && b.is_number()) return NumberOperation(op, a, b);
  if (op == "+" && a.is_string() && b.is_string()) {
    OCTAVO_RETURN_IF_ERROR(budget->Allocate(a.weight() + b.weight()));
    return Value::String(a.string() + b.string());
  }
  if (op == "+" && a.list() != nullptr && b.list() != nullptr &&
      a.list()->is_tuple == b.list()->is_tuple) {
    std::vector<Value> items = a.list()->items;
    items.insert(items.end(), b.list()->items.begin(), b.list()->items.end());
    OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(items.size() * sizeof(Value))));
    return Value::MakeList(std::move(items), a.list()->is_tuple);
  }
  if (op == "*") {
    const bool swapped = a.is_int();
    const Value& sequence = swapped ? b : a;
    const Value& count = swapped ? a : b;
    if ((sequence.is_string() || sequence.list() != nullptr) && count.is_int()) {
      return Repeat(sequence, count.integer(), budget);
    }
  }
  if (op == "%" && a.is_string()) return PercentFormat(a.string(), b, budget);
  return Unsupported(op, a, b);
}

Result<bool> Comparison(std::string_view op, const Value& a, const Value& b, Budget* budget) {
  if (op == "in") return Contains(b, a, budget);
  if (op == "not in") {
    OCTAVO_ASSIGN_OR_RETURN(const bool found, Contains(b, a, budget));
    return !found;
  }
  OCTAVO_RETURN_IF_ERROR(budget->Spend(std::min(a.weight(), b.weight()) / 32));
  if (op == "==") return Equal(a, b);
  if (op == "!=") return !Equal(a, b);
  if (a.is_undefined() || b.is_undefined()) return Unsupported(op, a, b);
  if (op == "<") return Less(a, b);
  if (op == ">") return Less(b, a);
  OCTAVO_ASSIGN_OR_RETURN(const bool less, op == "<=" ? Less(a, b) : Less(b, a));
  return less || Equal(a, b);
}

bool HasMethod(const Value& value, std::string_view name) {
  const auto one_of = [name](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (value.is_string()) {
    return one_of(
        {"strip",      "lstrip",     "rstrip",  "split",    "rsplit",       "splitlines",
         "startswith", "endswith",   "upper",   "lower",    "title",        "capitalize",
         "replace",    "find",       "rfind",   "index",    "count",        "join",
         "isdigit",    "isalpha",    "isalnum", "isupper",  "islower",      "isspace",
         "zfill",      "ljust",      "rjust",   "center",   "removeprefix", "removesuffix",
         "partition",  "rpartition", "format",  "swapcase", "isnumeric",    "isdecimal"});
  }
  if (value.dict() != nullptr) {
    return one_of({"items", "keys", "values", "get", "copy", "pop", "popitem", "update", "clear",
                   "setdefault", "fromkeys"});
  }
  if (value.list() != nullptr) {
    return one_of({"index", "count", "copy", "append", "extend", "insert", "pop", "remove",
                   "reverse", "sort", "clear"});
  }
  return false;
}

Result<Value> GetAttribute(const Value& object, std::string_view name) {
  if (const auto* undefined = std::get_if<Undefined>(&object.variant())) {
    return InvalidArgument(fmt::format("template: '{}' is undefined, so it has no attribute '{}'",
                                       undefined->name, name));
  }
  if (const Namespace* space = object.name_space()) {
    for (const auto& [key, value] : space->fields) {
      if (key == name) return value;
    }
    return Value::MakeUndefined(name);
  }
  if (HasMethod(object, name)) {
    return Value(
        std::make_shared<const Callable>(Callable{Callable::Kind::kMethod, std::string(name),
                                                  std::make_shared<const Value>(object), nullptr}));
  }
  const Dict* dict = object.dict();
  const Value* item = dict != nullptr ? dict->Find(name) : nullptr;
  return item != nullptr ? *item : Value::MakeUndefined(name);
}

Result<Value> GetItem(const Value& object, const Value& key) {
  if (object.is_undefined()) return GetAttribute(object, ToStr(key));
  if (const Dict* dict = object.dict()) {
    if (const Value* item = dict->Find(key)) return *item;
    return key.is_string() ? GetAttribute(object, key.string()) : Value::MakeUndefined(ToStr(key));
  }
  if (key.is_int() || key.is_bool()) {
    const List* list = object.list();
    if (list == nullptr && !object.is_string()) return Value::MakeUndefined(ToStr(key));
    const auto characters =
        object.is_string() ? Characters(object.string()) : std::vector<std::string_view>();
    const auto size =
        static_cast<int64_t>(list != nullptr ? list->items.size() : characters.size());
    const int64_t at = key.integer() < 0 ? key.integer() + size : key.integer();
    if (at < 0 || at >= size) return Value::MakeUndefined(ToStr(key));
    const auto index = static_cast<size_t>(at);
    return list != nullptr ? list->items[index] : Value::String(std::string(characters[index]));
  }
  if (key.is_string()) return GetAttribute(object, key.string());
  return Value::MakeUndefined(ToStr(key));
}

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> characters;
  for (size_t i = 0; i < text.size();) {
    const size_t length = DecodeUtf8(text, i).length;
    characters.push_back(text.substr(i, length));
    i += length;
  }
  return characters;
}

Result<Value> Slice(const Value& object, const Value& start, const Value& stop, const Value& step,
                    Budget* budget) {
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(object.weight() * 2));
  if (object.is_string()) {
    const auto characters = Characters(object.string());
    OCTAVO_ASSIGN_OR_RETURN(
        const auto positions,
        SlicePositions(static_cast<int64_t>(characters.size()), start, stop, step));
    std::string text;
    for (const int64_t at : positions) text += characters[static_cast<size_t>(at)];
    return Value::String(std::move(text));
  }
  const List* list = object.list();
  if (list == nullptr) return Unsupported("[:]", object, object);
  OCTAVO_ASSIGN_OR_RETURN(
      const auto positions,
      SlicePositions(static_cast<int64_t>(list->items.size()), start, stop, step));
  std::vector<Value> items;
  for (const int64_t at : positions) items.push_back(list->items[static_cast<size_t>(at)]);
  return Value::MakeList(std::move(items), list->is_tuple);
}

Result<std::vector<Value>> Iterate(const Value& value, Budget* budget) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  const List* list = value.list();
  const Dict* dict = value.dict();
  const size_t count = list != nullptr     ? list->items.size()
                       : dict != nullptr   ? dict->items.size()
                       : value.is_string() ? value.string().size()
                                           : 0;
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(count * sizeof(Value))));
  if (list != nullptr) return list->items;
  if (dict != nullptr) {
    for (const auto& [key, item] : dict->items) items.push_back(key);
    return items;
  }
  if (value.is_string()) {
    for (const auto c : Characters(value.string())) items.push_back(Value::String(std::string(c)));
    return items;
  }
  return InvalidArgument(fmt::format("template: '{}' is not iterable", value.TypeName()));
}

}  // namespace octavo::jinja
