// SPDX-License-Identifier: Apache-2.0
// Context-free grammars in GBNF (llama.cpp's notation), as grammar rules.
#pragma once

#include <string_view>

#include "engine/structured/grammar.h"

namespace octavo {

// `name ::= alternatives` lines; "literals", [classes], (groups), * + ? {m,n}, # comments. The rule
// "root" is the text. Returns its number. InvalidArgument names the line.
Result<int32_t> ParseGbnf(std::string_view text, GrammarBuilder& builder);

}  // namespace octavo
