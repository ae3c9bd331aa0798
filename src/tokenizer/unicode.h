// SPDX-License-Identifier: Apache-2.0
// Unicode character classes, case mapping and normalization forms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace octavo {

// Bits of the class table: what \p{L}, \p{N} and \s match in Unicode 16.
enum CharClass : uint8_t {
  kClassLetter = 1,
  kClassNumber = 2,
  kClassSpace = 4,
};

// One byte of CharClass bits per code point, 0x110000 entries, built on first use.
const uint8_t* CharClassTable();

bool IsUnicodeSpace(char32_t code);        // White_Space
bool IsUnicodeNumeric(char32_t code);      // Nd, Nl, No
bool IsUnicodePunctuation(char32_t code);  // Pc Pd Ps Pe Pi Pf Po, and all ASCII punctuation
bool IsUnicodeWord(char32_t code);         // \w: letters, marks, decimal digits, connectors
bool IsNonspacingMark(char32_t code);      // Mn
bool IsOtherCategory(char32_t code);       // Cc Cf Cn Co Cs

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

// Unicode normalization of valid UTF-8, linear in the text's length but for the sorting of runs of
// combining marks.
std::string Normalize(std::string_view text, NormalizationForm form);

// Lower case, character by character (no context, full mapping).
std::string LowerCase(std::string_view text);

// text without leading and/or trailing White_Space.
std::string_view StripSpace(std::string_view text, bool left, bool right);

}  // namespace octavo
