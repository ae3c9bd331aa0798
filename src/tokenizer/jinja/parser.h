// SPDX-License-Identifier: Apache-2.0
// Template source to syntax tree.
#pragma once

#include <string_view>

#include "octavo/status.h"
#include "tokenizer/jinja/ast.h"

namespace octavo::jinja {

// Fails with the line on a syntax error, on statements that are not supported (include, import,
// extends, block: they need other files), and on trees deeper than the evaluator's stack allows.
Result<Block> Parse(std::string_view source);

}  // namespace octavo::jinja
