// SPDX-License-Identifier: Apache-2.0
// UTF-8 decoding, encoding and repair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace octavo {

inline constexpr char32_t kReplacementChar = 0xFFFD;

struct Utf8Char {
  char32_t code;    // U+FFFD for an invalid sequence
  uint32_t length;  // bytes consumed, at least 1
  bool valid;
};

// The character at `position` (< text.size()). An invalid sequence consumes its maximal valid
// prefix (Unicode, section 3.9, "substitution of maximal subparts"), as Python and Rust do.
Utf8Char DecodeUtf8(std::string_view text, size_t position);

// Decodes the character that ends right before `end` (> 0) in valid UTF-8.
Utf8Char DecodeUtf8Before(std::string_view text, size_t end);

// Appends the encoding of `code` (a Unicode scalar value).
void AppendUtf8(char32_t code, std::string* out);

bool IsValidUtf8(std::string_view text);

// Every maximal invalid sequence becomes one U+FFFD: bytes.decode("utf-8", errors="replace").
std::string ReplaceInvalidUtf8(std::string_view text);

// Number of trailing bytes (0 to 3) that begin a character which the text does not complete.
size_t IncompleteUtf8Suffix(std::string_view text);

// Number of characters in valid UTF-8.
size_t CountUtf8(std::string_view text);

}  // namespace octavo
