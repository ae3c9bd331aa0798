// SPDX-License-Identifier: Apache-2.0
// Methods of strings, lists and dicts, with Python's behaviour.
#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::jinja {
namespace {

constexpr int64_t kMaxWidth = 1 << 16;

Status NotSupported(const Value& self, std::string_view name) {
  return Unimplemented(
      fmt::format("template: method '{}' of '{}' is not supported", name, self.TypeName()));
}

Value Text(std::string_view text) { return Value::String(std::string(text)); }

Result<Value> TextList(const std::vector<std::string_view>& parts, Budget* budget,
                       bool is_tuple = false) {
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(parts.size() * 2 * sizeof(Value))));
  std::vector<Value> items;
  for (const auto part : parts) items.push_back(Text(part));
  return Value::MakeList(std::move(items), is_tuple);
}

// A string argument, or null when absent or none.
Result<const std::string*> TextArgument(const Arguments& arguments, size_t index,
                                        std::string_view name) {
  const Value* value = arguments.Find(index, name);
  if (value == nullptr || value->is_none()) return static_cast<const std::string*>(nullptr);
  if (!value->is_string()) {
    return InvalidArgument(
        fmt::format("template: argument {} is '{}', want a string", index + 1, value->TypeName()));
  }
  return &value->string();
}

Result<const std::string*> WantText(const Arguments& arguments, size_t index,
                                    std::string_view name) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string* text, TextArgument(arguments, index, name));
  if (text == nullptr) {
    return InvalidArgument(fmt::format("template: argument {} is missing", index + 1));
  }
  return text;
}

Result<int64_t> IntArgument(const Arguments& arguments, size_t index, std::string_view name,
                            int64_t fallback) {
  const Value* value = arguments.Find(index, name);
  if (value == nullptr) return fallback;
  if (!value->is_int()) {
    return InvalidArgument(fmt::format("template: argument {} is '{}', want an integer", index + 1,
                                       value->TypeName()));
  }
  return value->integer();
}

// split() without a separator: runs of white space separate.
std::vector<std::string_view> SplitSpace(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  text = StripSpace(text, true, false);
  while (!text.empty() && limit != 0) {
    size_t end = 0;
    while (end < text.size()) {
      const Utf8Char c = DecodeUtf8(text, end);
      if (IsUnicodeSpace(c.code)) break;
      end += c.length;
    }
    parts.push_back(text.substr(0, end));
    text = StripSpace(text.substr(end), true, false);
    --limit;
  }
  if (!text.empty()) parts.push_back(StripSpace(text, false, true));
  return parts;
}

std::vector<std::string_view> RightSplitSpace(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  text = StripSpace(text, false, true);
  while (!text.empty() && limit != 0) {
    size_t begin = text.size();
    while (begin > 0) {
      const Utf8Char c = DecodeUtf8Before(text, begin);
      if (IsUnicodeSpace(c.code)) break;
      begin -= c.length;
    }
    parts.push_back(text.substr(begin));
    text = StripSpace(text.substr(0, begin), false, true);
    --limit;
  }
  if (!text.empty()) parts.push_back(StripSpace(text, true, false));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> SplitAt(std::string_view text, std::string_view separator,
                                      int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  while (limit != 0) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    const size_t after = at + separator.size();
    parts.push_back(from_right ? text.substr(after) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(after);
    --limit;
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Result<Value> Split(const std::string& text, const Arguments& arguments, bool from_right,
                    Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string* separator, TextArgument(arguments, 0, "sep"));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t limit, IntArgument(arguments, 1, "maxsplit", -1));
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(text.size())));
  if (separator == nullptr) {
    return TextList(
        from_right && limit >= 0 ? RightSplitSpace(text, limit) : SplitSpace(text, limit), budget);
  }
  if (separator->empty()) return InvalidArgument("template: split: empty separator");
  OCTAVO_RETURN_IF_ERROR(SpendSearch(text, *separator, budget));
  return TextList(SplitAt(text, *separator, limit, from_right), budget);
}

Result<Value> SplitLines(std::string_view text, const Arguments& arguments, Budget* budget) {
  const Value* keep = arguments.Find(0, "keepends");
  const bool keep_ends = keep != nullptr && keep->Truthy();
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find_first_of("\r\n");
    if (end == std::string_view::npos) {
      lines.push_back(text);
      break;
    }
    const size_t next = end + (text.substr(end).starts_with("\r\n") ? 2 : 1);
    lines.push_back(text.substr(0, keep_ends ? next : end));
    text.remove_prefix(next);
  }
  return TextList(lines, budget);
}

// startswith and endswith take one string or a tuple of them.
Result<Value> HasAffix(const std::string& text, const Arguments& arguments, bool at_start) {
  const Value* affix = arguments.Find(0, "prefix");
  if (affix == nullptr) return InvalidArgument("template: argument 1 is missing");
  const auto matches = [&](const Value& v) {
    return v.is_string() && (at_start ? text.starts_with(v.string()) : text.ends_with(v.string()));
  };
  if (const List* list = affix->list()) {
    return Value::Bool(std::any_of(list->items.begin(), list->items.end(), matches));
  }
  if (!affix->is_string()) return InvalidArgument("template: argument 1 is no string");
  return Value::Bool(matches(*affix));
}

Result<Value> FindText(const std::string& text, const Arguments& arguments, bool from_right,
                       bool must_exist, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string* needle, WantText(arguments, 0, "sub"));
  OCTAVO_RETURN_IF_ERROR(SpendSearch(text, *needle, budget));
  const size_t at = from_right ? text.rfind(*needle) : text.find(*needle);
  if (at == std::string::npos && must_exist) {
    return InvalidArgument("template: index: substring not found");
  }
  if (at == std::string::npos) return Value::Int(-1);
  return Value::Int(static_cast<int64_t>(CountUtf8(std::string_view(text).substr(0, at))));
}

Result<Value> CountText(const std::string& text, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string* needle, WantText(arguments, 0, "sub"));
  if (needle->empty()) return Value::Int(static_cast<int64_t>(CountUtf8(text)) + 1);
  OCTAVO_RETURN_IF_ERROR(SpendSearch(text, *needle, budget));
  int64_t count = 0;
  for (size_t at = text.find(*needle); at != std::string::npos;
       at = text.find(*needle, at + needle->size())) {
    ++count;
  }
  return Value::Int(count);
}

Result<Value> Pad(const std::string& text, std::string_view name, const Arguments& arguments,
                  Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(int64_t width, IntArgument(arguments, 0, "width", 0));
  OCTAVO_ASSIGN_OR_RETURN(const std::string* fill, TextArgument(arguments, 1, "fillchar"));
  if (width > kMaxWidth) return ResourceExhausted("template: width too large");
  width -= static_cast<int64_t>(CountUtf8(text));
  if (width <= 0) return Text(text);
  const std::string unit = name == "zfill" ? "0" : fill != nullptr ? *fill : " ";
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(text.size() + unit.size()), width));
  const auto repeat = [&unit](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += unit;
    return out;
  };
  if (name == "ljust") return Text(text + repeat(width));
  if (name == "rjust") return Text(repeat(width) + text);
  if (name == "zfill") {
    const bool has_sign = text.starts_with('-') || text.starts_with('+');
    return Text(text.substr(0, has_sign) + repeat(width) + text.substr(has_sign));
  }
  const int64_t total = width + static_cast<int64_t>(CountUtf8(text));
  const int64_t left = width / 2 + (width & total & 1);
  return Text(repeat(left) + text + repeat(width - left));
}

Result<Value> Partition(const std::string& text, const Arguments& arguments, bool from_right,
                        Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string* separator, WantText(arguments, 0, "sep"));
  if (separator->empty()) return InvalidArgument("template: partition: empty separator");
  OCTAVO_RETURN_IF_ERROR(SpendSearch(text, *separator, budget));
  const size_t at = from_right ? text.rfind(*separator) : text.find(*separator);
  const std::string_view view = text;
  if (at == std::string::npos) {
    if (from_right) return TextList({"", "", view}, budget, true);
    return TextList({view, "", ""}, budget, true);
  }
  return TextList({view.substr(0, at), *separator, view.substr(at + separator->size())}, budget,
                  true);
}

// isdigit() and its kin: true when not empty and all characters are of the class.
Result<Value> IsClass(const std::string& text, std::string_view name) {
  bool cased = false;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    i += c.length;
    const uint8_t bits = CharClassTable()[c.code];
    const bool letter = (bits & kClassLetter) != 0;
    const bool number = (bits & kClassNumber) != 0;
    bool good = true;
    if (name == "isdigit" || name == "isdecimal" || name == "isnumeric") good = number;
    if (name == "isalpha") good = letter;
    if (name == "isalnum") good = letter || number;
    if (name == "isspace") good = (bits & kClassSpace) != 0;
    if (!good) return Value::Bool(false);
    std::string one;
    AppendUtf8(c.code, &one);
    const bool is_upper = LowerCase(one) != one;
    const bool is_lower = UpperText(one) != one;
    cased = cased || is_upper || is_lower;
    if ((name == "isupper" && is_lower) || (name == "islower" && is_upper))
      return Value::Bool(false);
  }
  if (name == "isupper" || name == "islower") return Value::Bool(cased);
  return Value::Bool(!text.empty());
}

// "{} {0} {name}".format(...), without format specifications.
Result<Value> FormatText(const std::string& text, const Arguments& arguments, Budget* budget) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool doubled = i + 1 < text.size() && text[i + 1] == text[i];
    if ((text[i] == '{' || text[i] == '}') && doubled) ++i;
    if (text[i] != '{' || doubled) {
      out.push_back(text[i]);
      continue;
    }
    const size_t end = text.find('}', i);
    if (end == std::string::npos) return InvalidArgument("template: format: '{' without '}'");
    const std::string field = text.substr(i + 1, end - i - 1);
    const bool numbered =
        !field.empty() && field.size() < 4 &&
        std::all_of(field.begin(), field.end(), [](char c) { return c >= '0' && c <= '9'; });
    const size_t index = field.empty() ? next++ : numbered ? std::stoul(field) : SIZE_MAX;
    const Value* value = arguments.Find(index, field);
    if (value == nullptr) {
      return InvalidArgument(
          fmt::format("template: format: no argument '{}'", field.substr(0, 60)));
    }
    OCTAVO_RETURN_IF_ERROR(budget->Allocate(value->weight()));
    out += ToStr(*value);
    i = end;
  }
  return Value::String(std::move(out));
}

Result<Value> Strip(const std::string& text, const Arguments& arguments, bool left, bool right) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string* set, TextArgument(arguments, 0, "chars"));
  return Text(StripText(text, set, left, right));
}

Result<Value> RemoveAffix(const std::string& text, const Arguments& arguments, bool prefix) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string* affix, WantText(arguments, 0, "prefix"));
  const std::string_view view = text;
  if (prefix && view.starts_with(*affix)) return Text(view.substr(affix->size()));
  if (!prefix && view.ends_with(*affix)) return Text(view.substr(0, view.size() - affix->size()));
  return Text(text);
}

std::string SwapCase(const std::string& text) {
  std::string out;
  for (const auto c : Characters(text)) {
    const std::string lower = LowerCase(c);
    out += lower == c ? UpperText(c) : lower;
  }
  return out;
}

Result<Value> JoinMethod(const Value& self, const Arguments& arguments, Budget* budget) {
  if (arguments.positional.empty()) return InvalidArgument("template: join wants a list");
  Arguments separator;
  separator.positional.push_back(self);
  return ApplyFilter("join", arguments.positional[0], separator, budget);
}

Result<Value> ReplaceMethod(const std::string& text, const Arguments& arguments, Budget* budget) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string* from, WantText(arguments, 0, "old"));
  OCTAVO_ASSIGN_OR_RETURN(const std::string* to, WantText(arguments, 1, "new"));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t count, IntArgument(arguments, 2, "count", -1));
  OCTAVO_ASSIGN_OR_RETURN(std::string replaced, ReplaceText(text, *from, *to, count, budget));
  return Value::String(std::move(replaced));
}

Result<Value> StringMethod(const Value& self, const std::string& name, const Arguments& arguments,
                           Budget* budget) {
  const std::string& text = self.string();
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(self.weight()));
  if (name == "strip") return Strip(text, arguments, true, true);
  if (name == "lstrip") return Strip(text, arguments, true, false);
  if (name == "rstrip") return Strip(text, arguments, false, true);
  if (name == "split") return Split(text, arguments, false, budget);
  if (name == "rsplit") return Split(text, arguments, true, budget);
  if (name == "splitlines") return SplitLines(text, arguments, budget);
  if (name == "startswith") return HasAffix(text, arguments, true);
  if (name == "endswith") return HasAffix(text, arguments, false);
  if (name == "upper") return Text(UpperText(text));
  if (name == "lower") return Text(LowerCase(text));
  if (name == "title") return Text(TitleText(text));
  if (name == "capitalize") return Text(CapitalizeText(text));
  if (name == "swapcase") return Text(SwapCase(text));
  if (name == "replace") return ReplaceMethod(text, arguments, budget);
  if (name == "find") return FindText(text, arguments, false, false, budget);
  if (name == "rfind") return FindText(text, arguments, true, false, budget);
  if (name == "index") return FindText(text, arguments, false, true, budget);
  if (name == "count") return CountText(text, arguments, budget);
  if (name == "join") return JoinMethod(self, arguments, budget);
  if (name == "partition") return Partition(text, arguments, false, budget);
  if (name == "rpartition") return Partition(text, arguments, true, budget);
  if (name == "removeprefix") return RemoveAffix(text, arguments, true);
  if (name == "removesuffix") return RemoveAffix(text, arguments, false);
  if (name == "format") return FormatText(text, arguments, budget);
  if (name.starts_with("is")) return IsClass(text, name);
  if (name == "zfill" || name == "ljust" || name == "rjust" || name == "center") {
    return Pad(text, name, arguments, budget);
  }
  return NotSupported(self, name);
}

Result<Value> DictMethod(const Value& self, const std::string& name, const Arguments& arguments,
                         Budget* budget) {
  const Dict& dict = *self.dict();
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(
      name == "get" ? 1 : static_cast<int64_t>(dict.items.size() * 3 * sizeof(Value))));
  if (name == "get") {
    const Value* key = arguments.Find(0, "key");
    if (key == nullptr) return InvalidArgument("template: get wants a key");
    const Value* found = dict.Find(*key);
    const Value* fallback = arguments.Find(1, "default");
    return found != nullptr ? *found : fallback != nullptr ? *fallback : Value::MakeNone();
  }
  if (name == "copy") return self;
  if (name != "items" && name != "keys" && name != "values") return NotSupported(self, name);
  std::vector<Value> result;
  for (const auto& [key, value] : dict.items) {
    if (name == "items") {
      OCTAVO_ASSIGN_OR_RETURN(Value pair, Value::MakeList({key, value}, true));
      result.push_back(std::move(pair));
    } else {
      result.push_back(name == "keys" ? key : value);
    }
  }
  return Value::MakeList(std::move(result));
}

Result<Value> ListMethod(const Value& self, const std::string& name, const Arguments& arguments) {
  const std::vector<Value>& items = self.list()->items;
  if (name == "copy") return self;
  if (name != "index" && name != "count") return NotSupported(self, name);
  if (arguments.positional.empty()) return InvalidArgument("template: argument 1 is missing");
  const auto same = [&](const Value& v) { return Equal(v, arguments.positional[0]); };
  if (name == "count") return Value::Int(std::count_if(items.begin(), items.end(), same));
  const auto found = std::find_if(items.begin(), items.end(), same);
  if (found == items.end()) return InvalidArgument("template: index: value is not in the list");
  return Value::Int(found - items.begin());
}

}  // namespace

Result<Value> CallMethod(const Value& self, const std::string& name, const Arguments& arguments,
                         Budget* budget) {
  if (self.is_string()) return StringMethod(self, name, arguments, budget);
  if (self.dict() != nullptr) return DictMethod(self, name, arguments, budget);
  if (self.list() != nullptr) return ListMethod(self, name, arguments);
  if (self.is_int() && name == "cycle" && !arguments.positional.empty()) {  // loop.cycle
    const auto count = static_cast<int64_t>(arguments.positional.size());
    return arguments.positional[static_cast<size_t>(self.integer() % count)];
  }
  return NotSupported(self, name);
}

}  // namespace octavo::jinja
