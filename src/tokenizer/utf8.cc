// SPDX-License-Identifier: Apache-2.0
// UTF-8 by the table of well-formed byte sequences (Unicode, table 3-7).
#include "tokenizer/utf8.h"

#include <algorithm>
#include <cstring>

namespace octavo {
namespace {

struct LeadInfo {
  uint32_t length;  // 0: not a lead byte
  uint8_t second_min;
  uint8_t second_max;
};

LeadInfo InfoOf(uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

uint8_t ByteAt(std::string_view text, size_t position) {
  return static_cast<uint8_t>(text[position]);
}

size_t AsciiPrefix(std::string_view text, size_t position) {
  while (position + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + position, 8);
    if ((word & 0x8080808080808080ull) != 0) break;
    position += 8;
  }
  while (position < text.size() && ByteAt(text, position) < 0x80) ++position;
  return position;
}

// First invalid position at or after `position`, or text.size().
size_t FirstInvalid(std::string_view text, size_t position) {
  while (true) {
    position = AsciiPrefix(text, position);
    if (position == text.size()) return position;
    const Utf8Char c = DecodeUtf8(text, position);
    if (!c.valid) return position;
    position += c.length;
  }
}

}  // namespace

Utf8Char DecodeUtf8(std::string_view text, size_t position) {
  const uint8_t lead = ByteAt(text, position);
  const LeadInfo info = InfoOf(lead);
  if (info.length == 1) return {lead, 1, true};
  if (info.length == 0) return {kReplacementChar, 1, false};
  char32_t code = lead & (0xFFu >> (info.length + 1));
  for (uint32_t i = 1; i < info.length; ++i) {
    if (position + i >= text.size()) return {kReplacementChar, i, false};
    const uint8_t byte = ByteAt(text, position + i);
    const uint8_t low = i == 1 ? info.second_min : uint8_t{0x80};
    const uint8_t high = i == 1 ? info.second_max : uint8_t{0xBF};
    if (byte < low || byte > high) return {kReplacementChar, i, false};
    code = (code << 6) | (byte & 0x3Fu);
  }
  return {code, info.length, true};
}

Utf8Char DecodeUtf8Before(std::string_view text, size_t end) {
  size_t start = end - 1;
  while (start > 0 && end - start < 4 && (ByteAt(text, start) & 0xC0) == 0x80) --start;
  return DecodeUtf8(text.substr(0, end), start);
}

void AppendUtf8(char32_t code, std::string* out) {
  const auto push = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    push(code);
  } else if (code < 0x800) {
    push(0xC0 | (code >> 6));
    push(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    push(0xE0 | (code >> 12));
    push(0x80 | ((code >> 6) & 0x3F));
    push(0x80 | (code & 0x3F));
  } else {
    push(0xF0 | (code >> 18));
    push(0x80 | ((code >> 12) & 0x3F));
    push(0x80 | ((code >> 6) & 0x3F));
    push(0x80 | (code & 0x3F));
  }
}

bool IsValidUtf8(std::string_view text) { return FirstInvalid(text, 0) == text.size(); }

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t position = 0;
  while (position < text.size()) {
    const size_t invalid = FirstInvalid(text, position);
    out.append(text.substr(position, invalid - position));
    if (invalid == text.size()) break;
    AppendUtf8(kReplacementChar, &out);
    position = invalid + DecodeUtf8(text, invalid).length;
  }
  return out;
}

size_t IncompleteUtf8Suffix(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const size_t start = text.size() - back;
    const uint8_t byte = ByteAt(text, start);
    if ((byte & 0xC0) == 0x80) continue;
    const LeadInfo info = InfoOf(byte);
    const Utf8Char c = DecodeUtf8(text, start);
    return info.length > back && !c.valid && c.length == back ? back : 0;
  }
  return 0;
}

size_t CountUtf8(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace octavo
