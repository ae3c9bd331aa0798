// SPDX-License-Identifier: Apache-2.0
// Template values as text: Python's str() and repr(), and json.dumps.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "octavo/status.h"
#include "tokenizer/jinja/value.h"

namespace octavo::jinja {

// str(value); undefined prints as nothing.
std::string ToStr(const Value& value);
std::string ToRepr(const Value& value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // white space per level; absent: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// json.dumps(value, ...). Fails on values that have no JSON form, naming their type, and when the
// text passes `max_bytes`.
Result<std::string> ToJson(const Value& value, const JsonStyle& style, size_t max_bytes);

}  // namespace octavo::jinja
