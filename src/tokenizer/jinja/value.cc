// SPDX-License-Identifier: Apache-2.0
// Construction, truth, equality and order of template values.
#include "tokenizer/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>

namespace octavo::jinja {
namespace {

// Adds the child's depth and weight to a container's.
template <typename Container>
void Cover(const Value& child, Container* container) {
  container->nesting = std::max(container->nesting, child.nesting() + 1);
  container->weight = std::min(container->weight + child.weight(), kMaxWeight + 1);
}

template <typename Container>
Status CheckLimits(const Container& container) {
  if (container.nesting > kMaxNesting) {
    return ResourceExhausted(
        fmt::format("template: value nested deeper than {} levels", kMaxNesting));
  }
  if (container.weight > kMaxWeight) {
    return ResourceExhausted(fmt::format("template: value larger than {} bytes", kMaxWeight));
  }
  return Status::Ok();
}

bool EqualDicts(const Dict& a, const Dict& b) {
  if (a.items.size() != b.items.size()) return false;
  return std::all_of(a.items.begin(), a.items.end(), [&b](const auto& item) {
    const Value* other = b.Find(item.first);
    return other != nullptr && Equal(item.second, *other);
  });
}

}  // namespace

const Value* Dict::Find(std::string_view key) const {
  for (const auto& [name, value] : items) {
    if (name.is_string() && name.string() == key) return &value;
  }
  return nullptr;
}

const Value* Dict::Find(const Value& key) const {
  for (const auto& [name, value] : items) {
    if (Equal(name, key)) return &value;
  }
  return nullptr;
}

void Dict::Set(Value key, Value value) {
  if (const Value* found = Find(key)) {
    *const_cast<Value*>(found) = std::move(value);  // items belongs to this, which is not const
    return;
  }
  items.emplace_back(std::move(key), std::move(value));
}

Result<Value> Value::MakeList(std::vector<Value> items, bool is_tuple) {
  List list;
  for (const Value& item : items) Cover(item, &list);
  OCTAVO_RETURN_IF_ERROR(CheckLimits(list));
  list.items = std::move(items);
  list.is_tuple = is_tuple;
  return Value(std::make_shared<const List>(std::move(list)));
}

Result<Value> Value::MakeDict(Dict dict) {
  dict.nesting = 1;
  dict.weight = 1;
  for (const auto& [key, value] : dict.items) {
    Cover(key, &dict);
    Cover(value, &dict);
  }
  OCTAVO_RETURN_IF_ERROR(CheckLimits(dict));
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

Result<Value> Value::FromJson(const Json& json) {
  if (json.is_null()) return MakeNone();
  if (json.is_boolean()) return Bool(json.get<bool>());
  if (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX) {
    return Float(json.get<double>());
  }
  if (json.is_number_integer()) return Int(json.get<int64_t>());
  if (json.is_number()) return Float(json.get<double>());
  if (json.is_string()) return String(json.get<std::string>());
  if (json.is_array()) {
    std::vector<Value> items;
    items.reserve(json.size());
    for (const Json& item : json) {
      OCTAVO_ASSIGN_OR_RETURN(Value value, FromJson(item));
      items.push_back(std::move(value));
    }
    return MakeList(std::move(items));
  }
  if (!json.is_object()) return InvalidArgument("template: binary JSON value");
  Dict dict;
  for (const auto& [key, item] : json.items()) {
    OCTAVO_ASSIGN_OR_RETURN(Value value, FromJson(item));
    dict.items.emplace_back(String(key), std::move(value));
  }
  return MakeDict(std::move(dict));
}

bool Value::Truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (is_string()) return !string().empty();
  if (const List* l = list()) return !l->items.empty();
  if (const Dict* d = dict()) return !d->items.empty();
  return true;
}

int Value::nesting() const {
  if (const List* l = list()) return l->nesting;
  if (const Dict* d = dict()) return d->nesting;
  // A method keeps its object alive.
  const Callable* c = callable();
  return c != nullptr && c->self != nullptr ? c->self->nesting() + 1 : 0;
}

int64_t Value::weight() const {
  if (is_string()) return 1 + static_cast<int64_t>(string().size());
  if (const List* l = list()) return l->weight;
  const Dict* d = dict();
  return d != nullptr ? d->weight : 1;
}

std::string_view Value::TypeName() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (const List* l = list()) return l->is_tuple ? "tuple" : "list";
  if (dict() != nullptr) return "dict";
  if (name_space() != nullptr) return "Namespace";
  return "function";
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.number() == b.number() : a.integer() == b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.list() != nullptr && b.list() != nullptr) {
    return a.list()->is_tuple == b.list()->is_tuple &&
           std::equal(a.list()->items.begin(), a.list()->items.end(), b.list()->items.begin(),
                      b.list()->items.end(), &Equal);
  }
  if (a.dict() != nullptr && b.dict() != nullptr) return EqualDicts(*a.dict(), *b.dict());
  if (a.name_space() != nullptr) return a.name_space() == b.name_space();
  if (a.callable() != nullptr) return a.callable() == b.callable();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

Result<bool> Less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.number() < b.number() : a.integer() < b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() < b.string();
  if (a.list() != nullptr && b.list() != nullptr) {
    const auto& x = a.list()->items;
    const auto& y = b.list()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Equal(x[i], y[i])) return Less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  return InvalidArgument(
      fmt::format("template: '{}' and '{}' have no order", a.TypeName(), b.TypeName()));
}

const Value* Arguments::Find(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace octavo::jinja
