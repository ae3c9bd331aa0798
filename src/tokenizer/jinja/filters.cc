// SPDX-License-Identifier: Apache-2.0
// Jinja2's filters, in one table.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::jinja {
namespace {

constexpr int64_t kMaxIndent = 256;

using Filter = Result<Value> (*)(const Value& input, const Arguments& arguments, Budget* budget);

Value Text(std::string text) { return Value::String(std::move(text)); }

bool Flag(const Arguments& arguments, size_t index, std::string_view name, bool fallback = false) {
  const Value* value = arguments.Find(index, name);
  return value != nullptr ? value->Truthy() : fallback;
}

// An integer or a string of white space: the unit of indentation.
Result<std::string> IndentUnit(const Value& value) {
  if (value.is_string() && value.string().size() <= kMaxIndent) return value.string();
  if (!value.is_int() || value.integer() < 0 || value.integer() > kMaxIndent) {
    return InvalidArgument(fmt::format("indent: want 0 to {} columns", kMaxIndent));
  }
  return std::string(static_cast<size_t>(value.integer()), ' ');
}

Result<Value> ToJsonFilter(const Value& input, const Arguments& arguments, Budget* budget) {
  JsonStyle style;
  style.ensure_ascii = Flag(arguments, 0, "ensure_ascii");
  const Value* indent = arguments.Find(1, "indent");
  if (indent != nullptr && !indent->is_none()) {
    OCTAVO_ASSIGN_OR_RETURN(style.indent, IndentUnit(*indent));
    style.item_separator.assign(1, ',');
  }
  const Value* separators = arguments.Find(2, "separators");
  if (separators != nullptr && separators->list() != nullptr &&
      separators->list()->items.size() == 2) {
    style.item_separator = ToStr(separators->list()->items[0]);
    style.key_separator = ToStr(separators->list()->items[1]);
  }
  style.sort_keys = Flag(arguments, 3, "sort_keys");
  OCTAVO_ASSIGN_OR_RETURN(std::string text,
                          ToJson(input, style, static_cast<size_t>(budget->bytes_left())));
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(text.size())));
  return Text(std::move(text));
}

Result<Value> Trim(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(input.weight()));
  const Value* set = arguments.Find(0, "chars");
  const bool given = set != nullptr && set->is_string();
  return Text(StripText(ToStr(input), given ? &set->string() : nullptr, true, true));
}

Result<Value> Length(const Value& input, const Arguments& /*arguments*/, Budget* /*budget*/) {
  if (input.is_undefined()) return Value::Int(0);
  if (input.is_string()) return Value::Int(static_cast<int64_t>(CountUtf8(input.string())));
  if (input.list() != nullptr) return Value::Int(static_cast<int64_t>(input.list()->items.size()));
  if (input.dict() != nullptr) return Value::Int(static_cast<int64_t>(input.dict()->items.size()));
  return InvalidArgument(fmt::format("'{}' has no length", input.TypeName()));
}

// Each item, or its attribute when one is named.
Result<std::vector<Value>> ItemsOrAttributes(const Value& input, const Value* attribute,
                                             Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(input, budget));
  if (attribute == nullptr || attribute->is_none()) return items;
  for (Value& item : items) {
    OCTAVO_RETURN_IF_ERROR(budget->Spend(1));
    OCTAVO_ASSIGN_OR_RETURN(item, GetPath(item, *attribute));
  }
  return items;
}

Result<Value> Join(const Value& input, const Arguments& arguments, Budget* budget) {
  const Value* separator = arguments.Find(0, "d");
  const std::string between = separator != nullptr ? ToStr(*separator) : "";
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<Value> items,
                          ItemsOrAttributes(input, arguments.Find(1, "attribute"), budget));
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    OCTAVO_RETURN_IF_ERROR(
        budget->Allocate(items[i].weight() + static_cast<int64_t>(between.size())));
    if (i > 0) text += between;
    text += ToStr(items[i]);
  }
  return Text(std::move(text));
}

Result<Value> Items(const Value& input, const Arguments& arguments, Budget* budget) {
  if (input.is_undefined()) return Value::MakeList({});
  if (input.dict() == nullptr) return InvalidArgument("items: want a mapping");
  return CallMethod(input, "items", arguments, budget);
}

Result<Value> ToList(const Value& input, const Arguments& /*arguments*/, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(input, budget));
  return Value::MakeList(std::move(items));
}

Result<Value> ToText(const Value& input, const Arguments& /*arguments*/, Budget* budget) {
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(input.weight()));
  return input.is_string() ? input : Text(ToStr(input));
}

template <std::string (*function)(std::string_view)>
Result<Value> MapText(const Value& input, const Arguments& /*arguments*/, Budget* budget) {
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(input.weight()));
  return Text(function(ToStr(input)));
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const std::string_view escaped = c == '&'    ? "&amp;"
                                     : c == '<'  ? "&lt;"
                                     : c == '>'  ? "&gt;"
                                     : c == '\'' ? "&#39;"
                                     : c == '"'  ? "&#34;"
                                                 : std::string_view(&c, 1);
    out.append(escaped);
  }
  return out;
}

Result<Value> Default(const Value& input, const Arguments& arguments, Budget* /*budget*/) {
  const bool replaced = input.is_undefined() || (Flag(arguments, 1, "boolean") && !input.Truthy());
  if (!replaced) return input;
  const Value* fallback = arguments.Find(0, "default_value");
  return fallback != nullptr ? *fallback : Text("");
}

Result<Value> Replace(const Value& input, const Arguments& arguments, Budget* budget) {
  const Value* from = arguments.Find(0, "old");
  const Value* to = arguments.Find(1, "new");
  const Value* count = arguments.Find(2, "count");
  if (from == nullptr || to == nullptr) return InvalidArgument("replace: want old and new text");
  const int64_t limit = count != nullptr && count->is_int() ? count->integer() : -1;
  OCTAVO_ASSIGN_OR_RETURN(std::string text,
                          ReplaceText(ToStr(input), ToStr(*from), ToStr(*to), limit, budget));
  return Text(std::move(text));
}

Result<Value> Indent(const Value& input, const Arguments& arguments, Budget* budget) {
  const Value* width = arguments.Find(0, "width");
  OCTAVO_ASSIGN_OR_RETURN(const std::string unit,
                          IndentUnit(width != nullptr ? *width : Value::Int(4)));
  const bool first = Flag(arguments, 1, "first");
  const bool blank = Flag(arguments, 2, "blank");
  const std::string text = ToStr(input);
  std::string out = first ? unit : "";
  size_t begin = 0;
  while (true) {
    const size_t end = text.find('\n', begin);
    const bool empty = end == begin || (end == std::string::npos && begin == text.size());
    if (begin > 0 && (blank || !empty)) out += unit;
    OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(unit.size()) + 1));
    out += text.substr(begin, end - begin);
    if (end == std::string::npos) break;
    out += '\n';
    begin = end + 1;
  }
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(input.weight()));
  return Text(std::move(out));
}

Result<Value> First(const Value& input, const Arguments& /*arguments*/, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(input, budget));
  return items.empty() ? Value::MakeUndefined("first item of nothing") : std::move(items.front());
}

Result<Value> Last(const Value& input, const Arguments& /*arguments*/, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(input, budget));
  return items.empty() ? Value::MakeUndefined("last item of nothing") : std::move(items.back());
}

Result<Value> Reverse(const Value& input, const Arguments& /*arguments*/, Budget* budget) {
  return Slice(input, Value::MakeNone(), Value::MakeNone(), Value::Int(-1), budget);
}

// `strip`: the part of a number's text that reads as T.
template <typename T>
std::optional<T> ParseNumber(const std::string& text) {
  std::string_view trimmed = StripSpace(text, true, true);
  if (trimmed.starts_with('+')) trimmed.remove_prefix(1);
  T value{};
  const auto parsed = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
  if (trimmed.empty() || parsed.ec != std::errc() ||
      parsed.ptr != trimmed.data() + trimmed.size()) {
    return std::nullopt;
  }
  return value;
}

std::optional<Value> Truncate(double value) {
  if (!(std::abs(value) < 9e18)) return std::nullopt;
  return Value::Int(static_cast<int64_t>(value));
}

Result<Value> ToInt(const Value& input, const Arguments& arguments, Budget* /*budget*/) {
  const Value* given = arguments.Find(0, "default");
  const Value fallback = given != nullptr ? *given : Value::Int(0);
  if (input.is_float()) return Truncate(input.number()).value_or(fallback);
  if (input.is_number()) return Value::Int(input.integer());
  if (!input.is_string()) return fallback;
  if (const auto value = ParseNumber<int64_t>(input.string())) return Value::Int(*value);
  if (const auto value = ParseNumber<double>(input.string())) {
    return Truncate(*value).value_or(fallback);
  }
  return fallback;
}

Result<Value> ToFloat(const Value& input, const Arguments& arguments, Budget* /*budget*/) {
  const Value* given = arguments.Find(0, "default");
  const Value fallback = given != nullptr ? *given : Value::Float(0);
  if (input.is_number()) return Value::Float(input.number());
  if (!input.is_string()) return fallback;
  const auto value = ParseNumber<double>(input.string());
  return value ? Value::Float(*value) : fallback;
}

Result<Value> Abs(const Value& input, const Arguments& /*arguments*/, Budget* budget) {
  if (!input.is_number()) return InvalidArgument("abs: want a number");
  if (input.number() >= 0) return input;
  return BinaryOperation("-", Value::Int(0), input, budget);
}

Result<Value> Round(const Value& input, const Arguments& arguments, Budget* /*budget*/) {
  if (!input.is_number()) return InvalidArgument("round: want a number");
  const Value* given = arguments.Find(0, "precision");
  const int64_t precision = given != nullptr && given->is_int() ? given->integer() : 0;
  const Value* method = arguments.Find(1, "method");
  const std::string how = method != nullptr ? ToStr(*method) : "common";
  const double factor =
      std::pow(10.0, static_cast<double>(std::clamp<int64_t>(precision, -300, 300)));
  const double scaled = input.number() * factor;
  const double rounded = how == "ceil"    ? std::ceil(scaled)
                         : how == "floor" ? std::floor(scaled)
                                          : std::nearbyint(scaled);
  return Value::Float(rounded / factor);
}

Result<Value> Sum(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<Value> items,
                          ItemsOrAttributes(input, arguments.Find(0, "attribute"), budget));
  const Value* start = arguments.Find(1, "start");
  Value total = start != nullptr ? *start : Value::Int(0);
  for (const Value& item : items) {
    OCTAVO_ASSIGN_OR_RETURN(total, BinaryOperation("+", total, item, budget));
  }
  return total;
}

// Strings compare without case unless asked otherwise.
Value SortKey(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? Text(LowerCase(value.string())) : value;
}

struct Keyed {
  Value key;
  Value item;
};

Result<std::vector<Keyed>> KeyedItems(const Value& input, const Value* attribute,
                                      bool case_sensitive, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(input, budget));
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<Value> keys,
                          ItemsOrAttributes(input, attribute, budget));
  std::vector<Keyed> keyed;
  for (size_t i = 0; i < items.size(); ++i) {
    keyed.push_back({SortKey(keys[i], case_sensitive), items[i]});
  }
  return keyed;
}

Status SortKeyed(std::vector<Keyed>* keyed, bool reverse, Budget* budget) {
  Status status;
  int64_t weight = 0;
  for (const Keyed& k : *keyed) weight += k.key.weight();
  OCTAVO_RETURN_IF_ERROR(budget->Spend(weight / 2));
  // A failed comparison must not stop the sort half way: it answers "equal" and is reported later.
  const auto less = [&status](const Value& a, const Value& b) {
    const Result<bool> result = Less(a, b);
    if (!result.ok()) status = result.status();
    return result.ok() && *result;
  };
  std::stable_sort(keyed->begin(), keyed->end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(b.key, a.key) : less(a.key, b.key);
  });
  return status;
}

Result<Value> ListOf(std::vector<Keyed> keyed) {
  std::vector<Value> items;
  for (Keyed& k : keyed) items.push_back(std::move(k.item));
  return Value::MakeList(std::move(items));
}

Result<Value> Sort(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Keyed> keyed,
                          KeyedItems(input, arguments.Find(2, "attribute"),
                                     Flag(arguments, 1, "case_sensitive"), budget));
  OCTAVO_RETURN_IF_ERROR(SortKeyed(&keyed, Flag(arguments, 0, "reverse"), budget));
  return ListOf(std::move(keyed));
}

Result<Value> DictSort(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const Value items, Items(input, {}, budget));
  const Value* by = arguments.Find(1, "by");
  const Value position = Value::Int(by != nullptr && ToStr(*by) == "value" ? 1 : 0);
  OCTAVO_ASSIGN_OR_RETURN(
      std::vector<Keyed> keyed,
      KeyedItems(items, &position, Flag(arguments, 0, "case_sensitive"), budget));
  OCTAVO_RETURN_IF_ERROR(SortKeyed(&keyed, Flag(arguments, 2, "reverse"), budget));
  return ListOf(std::move(keyed));
}

Result<Value> Unique(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Keyed> keyed,
                          KeyedItems(input, arguments.Find(1, "attribute"),
                                     Flag(arguments, 0, "case_sensitive"), budget));
  std::vector<Keyed> kept;
  for (Keyed& k : keyed) {
    OCTAVO_RETURN_IF_ERROR(budget->Spend(static_cast<int64_t>(kept.size()) + k.key.weight() / 32));
    const bool seen = std::any_of(kept.begin(), kept.end(),
                                  [&k](const Keyed& other) { return Equal(other.key, k.key); });
    if (!seen) kept.push_back(std::move(k));
  }
  return ListOf(std::move(kept));
}

template <bool maximum>
Result<Value> Extreme(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Keyed> keyed,
                          KeyedItems(input, arguments.Find(1, "attribute"),
                                     Flag(arguments, 0, "case_sensitive"), budget));
  if (keyed.empty()) return Value::MakeUndefined("extreme of nothing");
  OCTAVO_RETURN_IF_ERROR(SortKeyed(&keyed, maximum, budget));
  return std::move(keyed.front().item);
}

// Jinja2 takes any false value (none, 0, "") for an empty list in map, select and their kin.
Result<std::vector<Value>> IterateUnlessFalse(const Value& input, Budget* budget) {
  if (!input.Truthy()) return std::vector<Value>();
  return Iterate(input, budget);
}

Result<Value> Map(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Value> items, IterateUnlessFalse(input, budget));
  const Value* attribute = arguments.Find(SIZE_MAX, "attribute");
  const Value* fallback = arguments.Find(SIZE_MAX, "default");
  Arguments rest;
  if (attribute == nullptr) {
    if (arguments.positional.empty()) return InvalidArgument("map: want a filter or an attribute");
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    rest.named = arguments.named;
  }
  for (Value& item : items) {
    OCTAVO_RETURN_IF_ERROR(budget->Spend(1 + item.weight() / 32));
    if (attribute == nullptr) {
      OCTAVO_ASSIGN_OR_RETURN(item,
                              ApplyFilter(ToStr(arguments.positional[0]), item, rest, budget));
      continue;
    }
    OCTAVO_ASSIGN_OR_RETURN(item, GetPath(item, *attribute));
    if (item.is_undefined() && fallback != nullptr) item = *fallback;
  }
  return Value::MakeList(std::move(items));
}

// select, reject, selectattr and rejectattr.
template <bool keep, bool by_attribute>
Result<Value> SelectWhere(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(std::vector<Value> items, IterateUnlessFalse(input, budget));
  const auto& given = arguments.positional;
  constexpr size_t kTest = by_attribute ? 1 : 0;
  if (by_attribute && given.empty()) return InvalidArgument("want an attribute");
  Arguments rest;
  if (given.size() > kTest) {
    rest.positional.assign(given.begin() + kTest + 1, given.end());
  }
  std::vector<Value> kept;
  for (Value& item : items) {
    OCTAVO_RETURN_IF_ERROR(budget->Spend(1));
    Value subject = item;
    if (by_attribute) {
      OCTAVO_ASSIGN_OR_RETURN(subject, GetPath(item, given[0]));
    }
    bool holds = subject.Truthy();
    if (given.size() > kTest) {
      OCTAVO_ASSIGN_OR_RETURN(holds, ApplyTest(ToStr(given[kTest]), subject, rest, budget));
    }
    if (holds == keep) kept.push_back(std::move(item));
  }
  return Value::MakeList(std::move(kept));
}

Result<Value> Attribute(const Value& input, const Arguments& arguments, Budget* /*budget*/) {
  const Value* name = arguments.Find(0, "name");
  if (name == nullptr) return InvalidArgument("attr: want a name");
  return GetAttribute(input, ToStr(*name));
}

Result<Value> PercentFormat(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const Value tuple, Value::MakeList(arguments.positional, true));
  return BinaryOperation("%", input, tuple, budget);
}

Result<Value> WordCount(const Value& input, const Arguments& /*arguments*/, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const Value words, CallMethod(Text(ToStr(input)), "split", {}, budget));
  return Value::Int(static_cast<int64_t>(words.list()->items.size()));
}

Result<Value> Batch(const Value& input, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(input, budget));
  const Value* size = arguments.Find(0, "linecount");
  if (size == nullptr || !size->is_int() || size->integer() < 1) {
    return InvalidArgument("batch: want a positive count");
  }
  std::vector<Value> rows;
  for (size_t i = 0; i < items.size();) {
    const size_t end = i + std::min(items.size() - i, static_cast<size_t>(size->integer()));
    OCTAVO_ASSIGN_OR_RETURN(Value row,
                            Value::MakeList({items.begin() + static_cast<std::ptrdiff_t>(i),
                                             items.begin() + static_cast<std::ptrdiff_t>(end)}));
    rows.push_back(std::move(row));
    i = end;
  }
  return Value::MakeList(std::move(rows));
}

struct FilterEntry {
  std::string_view name;
  Filter function;
};

constexpr FilterEntry kFilters[] = {
    {"abs", &Abs},
    {"attr", &Attribute},
    {"batch", &Batch},
    {"capitalize", &MapText<&CapitalizeText>},
    {"count", &Length},
    {"d", &Default},
    {"default", &Default},
    {"dictsort", &DictSort},
    {"e", &MapText<&EscapeHtml>},
    {"escape", &MapText<&EscapeHtml>},
    {"first", &First},
    {"float", &ToFloat},
    {"format", &PercentFormat},
    {"indent", &Indent},
    {"int", &ToInt},
    {"items", &Items},
    {"join", &Join},
    {"last", &Last},
    {"length", &Length},
    {"list", &ToList},
    {"lower", &MapText<&LowerCase>},
    {"map", &Map},
    {"max", &Extreme<true>},
    {"min", &Extreme<false>},
    {"reject", &SelectWhere<false, false>},
    {"rejectattr", &SelectWhere<false, true>},
    {"replace", &Replace},
    {"reverse", &Reverse},
    {"round", &Round},
    {"safe", &ToText},
    {"select", &SelectWhere<true, false>},
    {"selectattr", &SelectWhere<true, true>},
    {"sort", &Sort},
    {"string", &ToText},
    {"sum", &Sum},
    {"title", &MapText<&TitleText>},
    {"tojson", &ToJsonFilter},
    {"trim", &Trim},
    {"unique", &Unique},
    {"upper", &MapText<&UpperText>},
    {"wordcount", &WordCount},
};

}  // namespace

Result<Value> GetPath(const Value& value, const Value& path) {
  if (!path.is_string()) return GetItem(value, path);
  Value current = value;
  std::string_view rest = path.string();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    const auto index = ParseNumber<int64_t>(part);
    OCTAVO_ASSIGN_OR_RETURN(current,
                            GetItem(current, index ? Value::Int(*index) : Value::String(part)));
    if (dot == std::string_view::npos) return current;
    rest.remove_prefix(dot + 1);
  }
}

Result<Value> ApplyFilter(const std::string& name, const Value& input, const Arguments& arguments,
                          Budget* budget) {
  const auto* entry = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [&name](const FilterEntry& e) { return e.name == name; });
  if (entry == std::end(kFilters)) {
    return Unimplemented(fmt::format("filter '{}' is not supported", name.substr(0, 60)));
  }
  return entry->function(input, arguments, budget);
}

}  // namespace octavo::jinja
