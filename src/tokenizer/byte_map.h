// SPDX-License-Identifier: Apache-2.0
// The byte <-> character map of byte-level BPE (GPT-2): every byte gets a printable character.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace octavo {

// Bytes 33-126, 161-172 and 174-255 map to the same code point, the other 68 in ascending order to
// U+0100 on: space is U+0120, newline U+010A.
char32_t ByteToChar(uint8_t byte);

// Inverse of ByteToChar.
std::optional<uint8_t> CharToByte(char32_t code);

// The mapped characters of each byte, as UTF-8.
std::string MapBytes(std::string_view bytes);

// Appends the bytes that `token` stands for; if any of its characters is not in the map, the
// token's own bytes.
void AppendUnmappedBytes(std::string_view token, std::string* out);

}  // namespace octavo
