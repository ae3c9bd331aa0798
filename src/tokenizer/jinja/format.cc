// SPDX-License-Identifier: Apache-2.0
// Text forms that match Python's to the byte.
#include "tokenizer/jinja/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::jinja {
namespace {

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);  // shortest that reads back, as Python's repr
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

bool IsPrintable(char32_t code) {
  if (code < 0x20 || code == 0x7F) return false;
  if (code < 0x7F) return true;
  return !IsOtherCategory(code) && !IsUnicodeSpace(code);
}

std::string StringRepr(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    i += c.length;
    if (c.code == static_cast<char32_t>(quote) || c.code == '\\') {
      out += '\\';
      out += static_cast<char>(c.code);
    } else if (c.code == '\n') {
      out += "\\n";
    } else if (c.code == '\r') {
      out += "\\r";
    } else if (c.code == '\t') {
      out += "\\t";
    } else if (IsPrintable(c.code)) {
      AppendUtf8(c.code, &out);
    } else {
      const auto code = static_cast<uint32_t>(c.code);
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
    }
  }
  out += quote;
  return out;
}

std::string ListRepr(const List& list) {
  std::string out(1, list.is_tuple ? '(' : '[');
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    out += ToRepr(list.items[i]);
  }
  if (list.is_tuple && list.items.size() == 1) out += ',';
  out += list.is_tuple ? ')' : ']';
  return out;
}

std::string DictRepr(const Dict& dict) {
  std::string out = "{";
  for (const auto& [key, value] : dict.items) {
    if (out.size() > 1) out += ", ";
    out += ToRepr(key) + ": " + ToRepr(value);
  }
  return out + "}";
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, size_t max_bytes) : style_(style), max_bytes_(max_bytes) {}

  Status Write(const Value& value, int depth) {
    if (out_.size() > max_bytes_) return ResourceExhausted("template: tojson output too long");
    if (const List* list = value.list()) return WriteList(*list, depth);
    if (const Dict* dict = value.dict()) return WriteDict(*dict, depth);
    OCTAVO_ASSIGN_OR_RETURN(const std::string text, Scalar(value));
    out_ += value.is_string() ? Quoted(text) : text;
    return Status::Ok();
  }
  std::string Take() && { return std::move(out_); }

 private:
  static Result<std::string> Scalar(const Value& value) {
    if (value.is_none()) return std::string("null");
    if (value.is_bool()) return std::string(value.integer() != 0 ? "true" : "false");
    if (value.is_int()) return fmt::format("{}", value.integer());
    if (value.is_string()) return value.string();
    if (!value.is_float()) {
      return InvalidArgument(
          fmt::format("template: tojson: '{}' has no JSON form", value.TypeName()));
    }
    const double number = value.number();
    if (std::isnan(number)) return std::string("NaN");
    if (std::isinf(number)) return std::string(number > 0 ? "Infinity" : "-Infinity");
    return FloatText(number);
  }

  std::string Quoted(const std::string& text) const {
    std::string out = "\"";
    for (size_t i = 0; i < text.size();) {
      const Utf8Char c = DecodeUtf8(text, i);
      i += c.length;
      AppendEscaped(c.code, &out);
    }
    out += '"';
    return out;
  }

  void AppendEscaped(char32_t code, std::string* out) const {
    switch (code) {
      case '"':
        *out += "\\\"";
        return;
      case '\\':
        *out += "\\\\";
        return;
      case '\n':
        *out += "\\n";
        return;
      case '\r':
        *out += "\\r";
        return;
      case '\t':
        *out += "\\t";
        return;
      case '\b':
        *out += "\\b";
        return;
      case '\f':
        *out += "\\f";
        return;
      default:
        break;
    }
    const auto number = static_cast<uint32_t>(code);
    if (code >= 0x20 && (code < 0x7F || !style_.ensure_ascii)) {
      AppendUtf8(code, out);
    } else if (code < 0x10000) {
      *out += fmt::format("\\u{:04x}", number);
    } else {
      const uint32_t offset = number - 0x10000;
      *out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (offset >> 10), 0xDC00 + (offset & 0x3FF));
    }
  }

  void NewLine(int depth) {
    out_ += '\n';
    for (int i = 0; i < depth; ++i) out_ += *style_.indent;
  }

  // json.dumps drops the space after commas when it breaks lines.
  void Separate(bool first, int depth) {
    if (!first) out_ += style_.item_separator;
    if (style_.indent) NewLine(depth);
  }

  Status WriteList(const List& list, int depth) {
    out_ += '[';
    bool first = true;
    for (const Value& item : list.items) {
      Separate(std::exchange(first, false), depth + 1);
      OCTAVO_RETURN_IF_ERROR(Write(item, depth + 1));
    }
    if (style_.indent && !first) NewLine(depth);
    out_ += ']';
    return Status::Ok();
  }

  Status WriteDict(const Dict& dict, int depth) {
    std::vector<std::pair<std::string, const Value*>> items;
    for (const auto& [key, value] : dict.items) {
      OCTAVO_ASSIGN_OR_RETURN(std::string name, Scalar(key));
      items.emplace_back(std::move(name), &value);
    }
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    out_ += '{';
    bool first = true;
    for (const auto& [name, value] : items) {
      Separate(std::exchange(first, false), depth + 1);
      out_ += Quoted(name) + style_.key_separator;
      OCTAVO_RETURN_IF_ERROR(Write(*value, depth + 1));
    }
    if (style_.indent && !first) NewLine(depth);
    out_ += '}';
    return Status::Ok();
  }

  const JsonStyle& style_;
  size_t max_bytes_;
  std::string out_;
};

}  // namespace

std::string ToStr(const Value& value) {
  if (value.is_undefined()) return "";
  return value.is_string() ? value.string() : ToRepr(value);
}

std::string ToRepr(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.integer() != 0 ? "True" : "False";
  if (value.is_int()) return fmt::format("{}", value.integer());
  if (value.is_float()) return FloatText(value.number());
  if (value.is_string()) return StringRepr(value.string());
  if (const List* list = value.list()) return ListRepr(*list);
  if (const Dict* dict = value.dict()) return DictRepr(*dict);
  if (value.name_space() != nullptr) return "<Namespace>";  // may refer to itself
  return fmt::format("<function {}>", value.callable()->name);
}

Result<std::string> ToJson(const Value& value, const JsonStyle& style, size_t max_bytes) {
  JsonWriter writer(style, max_bytes);
  OCTAVO_RETURN_IF_ERROR(writer.Write(value, 0));
  return std::move(writer).Take();
}

}  // namespace octavo::jinja
