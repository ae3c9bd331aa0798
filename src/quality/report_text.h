// SPDX-License-Identifier: Apache-2.0
// How figures of a report are written, the same in all its forms.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace octavo {

// "0.0123 ± 0.0004", rounded to the error's second digit; "unknown" for null.
std::string FormatEstimate(const Json& estimate, double factor = 1, std::string_view unit = "");

// Four significant digits; "-" for null.
std::string FormatNumber(const Json& number);

// Last component of a model's path.
std::string ModelName(const Json& model);

// The figures at the top, label and value.
std::vector<std::pair<std::string, std::string>> Headline(const Json& report);

// Why some linear layers have no errors of their own; empty where all have.
std::string TransformedNote(const Json& report);

// "…the last words of a context", on one line, at most `max_bytes` and whole characters.
std::string OneLineTail(std::string_view text, size_t max_bytes);

// A token with its line ends and tabs as signs.
std::string VisibleToken(std::string_view token);

}  // namespace octavo
