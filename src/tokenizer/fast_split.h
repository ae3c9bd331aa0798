// SPDX-License-Identifier: Apache-2.0
// Hand-written equivalents of the three splitting regexes that most models use.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/regex.h"

namespace octavo {

enum class KnownPattern {
  kGpt2,    // R1: also the built-in regex of ByteLevel
  kLlama3,  // R2: up to three digits
  kQwen2,   // R3: R2 with single digits
};

// The regex a KnownPattern stands for.
std::string_view RegexOf(KnownPattern pattern);

// The known pattern that is spelled exactly `regex`.
std::optional<KnownPattern> FindKnownPattern(std::string_view regex);

// Appends the matches of the pattern; they tile valid UTF-8 `text` without gaps, just as
// Oniguruma's do (checked by a test on random text).
void SplitByKnownPattern(KnownPattern pattern, std::string_view text, std::vector<Range>* out);

}  // namespace octavo
