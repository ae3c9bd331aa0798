// SPDX-License-Identifier: Apache-2.0
// Both directions of the byte-level map as constant tables.
#include "tokenizer/byte_map.h"

#include <array>

#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr char32_t kMapEnd = 0x100 + 68;

struct Tables {
  std::array<uint16_t, 256> to_char{};
  std::array<int16_t, kMapEnd> to_byte{};
};

constexpr bool IsPrintable(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr Tables MakeTables() {
  Tables tables;
  tables.to_byte.fill(-1);
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t code = IsPrintable(byte) ? byte : next++;
    tables.to_char[byte] = static_cast<uint16_t>(code);
    tables.to_byte[code] = static_cast<int16_t>(byte);
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

}  // namespace

char32_t ByteToChar(uint8_t byte) { return kTables.to_char[byte]; }

std::optional<uint8_t> CharToByte(char32_t code) {
  if (code >= kMapEnd || kTables.to_byte[code] < 0) return std::nullopt;
  return static_cast<uint8_t>(kTables.to_byte[code]);
}

std::string MapBytes(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 2);
  for (const char byte : bytes) AppendUtf8(ByteToChar(static_cast<uint8_t>(byte)), &out);
  return out;
}

void AppendUnmappedBytes(std::string_view token, std::string* out) {
  const size_t start = out->size();
  for (size_t i = 0; i < token.size();) {
    const Utf8Char c = DecodeUtf8(token, i);
    const auto byte = CharToByte(c.code);
    if (!byte) {
      out->resize(start);
      out->append(token);
      return;
    }
    out->push_back(static_cast<char>(*byte));
    i += c.length;
  }
}

}  // namespace octavo
