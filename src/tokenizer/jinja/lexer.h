// SPDX-License-Identifier: Apache-2.0
// Template source to tokens, with Jinja2's white-space control (trim_blocks, lstrip_blocks).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"

namespace octavo::jinja {

enum class TokenKind {
  kData,           // text outside of tags
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;  // data, name, operator; a string's value with escapes resolved
  int line;
};

// Comments are left out. The last token is kEnd.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace octavo::jinja
