// SPDX-License-Identifier: Apache-2.0
// Regular expressions as grammar expressions.
#pragma once

#include <string_view>

#include "engine/structured/grammar.h"

namespace octavo {

// The whole of `pattern`, anchored at both ends. Syntax: literals, '.', classes with ranges and
// negation, \d \w \s \D \W \S (ASCII), \n \r \t \f \v \0 \xHH \uHHHH, groups, '|', * + ? {m,n}
// (lazy marks mean nothing here), ^ at the start and $ at the end. Anything else (look-around, back
// references, named classes, word borders) is an InvalidArgument that names it.
Result<GrammarBuilder::Expr> ParseRegex(std::string_view pattern, GrammarBuilder& builder);

// "{m}", "{m,}", "{m,n}" from after the brace; moves `at` behind the closing brace.
Result<std::pair<int32_t, int32_t>> ParseRepeatCounts(std::string_view text, size_t& at);

// Largest count a repetition may have.
inline constexpr int32_t kMaxRepeat = 10'000;

}  // namespace octavo
