// SPDX-License-Identifier: Apache-2.0
// Text helpers that filters and string methods share.
#include <utf8proc.h>

#include <algorithm>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo::jinja {
namespace {

std::string MapFirstAndRest(std::string_view text, char32_t (*first)(char32_t)) {
  if (text.empty()) return {};
  std::string out;
  const Utf8Char c = DecodeUtf8(text, 0);
  AppendUtf8(first(c.code), &out);
  return out + LowerCase(text.substr(c.length));
}

char32_t UpperChar(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

char32_t TitleChar(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}

}  // namespace

std::string UpperText(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    i += c.length;
    if (c.code == 0xDF) {
      out += "SS";
    } else {
      AppendUtf8(UpperChar(c.code), &out);
    }
  }
  return out;
}

std::string CapitalizeText(std::string_view text) { return MapFirstAndRest(text, &TitleChar); }

// Words begin after white space and -({[<, as in Jinja2's title filter.
std::string TitleText(std::string_view text) {
  std::string out;
  size_t word = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    const bool separator =
        IsUnicodeSpace(c.code) ||
        (c.code < 0x80 &&
         std::string_view("-({[<").find(static_cast<char>(c.code)) != std::string_view::npos);
    if (separator) {
      out += MapFirstAndRest(text.substr(word, i - word), &UpperChar);
      out += text.substr(i, c.length);
      word = i + c.length;
    }
    i += c.length;
  }
  return out + MapFirstAndRest(text.substr(word), &UpperChar);
}

std::string StripText(const std::string& text, const std::string* set, bool left, bool right) {
  if (set == nullptr) return std::string(StripSpace(text, left, right));
  const auto characters = Characters(*set);
  const auto in_set = [&](std::string_view c) {
    return std::find(characters.begin(), characters.end(), c) != characters.end();
  };
  std::string_view rest = text;
  while (left && !rest.empty()) {
    const size_t length = DecodeUtf8(rest, 0).length;
    if (!in_set(rest.substr(0, length))) break;
    rest.remove_prefix(length);
  }
  while (right && !rest.empty()) {
    const size_t length = DecodeUtf8Before(rest, rest.size()).length;
    if (!in_set(rest.substr(rest.size() - length))) break;
    rest.remove_suffix(length);
  }
  return std::string(rest);
}

Result<std::string> ReplaceText(const std::string& text, const std::string& from,
                                const std::string& to, int64_t count, Budget* budget) {
  OCTAVO_RETURN_IF_ERROR(SpendSearch(text, from, budget));
  std::string out;
  size_t copied = 0;
  const auto replace = [&](size_t at) {
    out.append(text, copied, at - copied);
    out += to;
    copied = at + from.size();
    --count;
    return budget->Allocate(static_cast<int64_t>(to.size()) + 1);
  };
  if (from.empty()) {  // between all characters
    size_t at = 0;
    while (count != 0) {
      OCTAVO_RETURN_IF_ERROR(replace(at));
      if (at >= text.size()) break;
      at += DecodeUtf8(text, at).length;
    }
  } else {
    for (size_t at = text.find(from); at != std::string::npos && count != 0;
         at = text.find(from, at + from.size())) {
      OCTAVO_RETURN_IF_ERROR(replace(at));
    }
  }
  OCTAVO_RETURN_IF_ERROR(budget->Allocate(static_cast<int64_t>(text.size())));
  out.append(text, copied);
  return out;
}

}  // namespace octavo::jinja
