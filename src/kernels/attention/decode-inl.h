// SPDX-License-Identifier: Apache-2.0
// Codes of fp8, int8 and int4 pages to bf16 pairs by table, for levels without byte permutes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/attention/kv_tables.h"

namespace octavo {
namespace {

// Decodes `count` vectors (64 bytes of bf16 pairs each) in the order of kv_layout.h: 64 bytes of codes
// hold two vectors (8 bit) or four (int4).
inline void DecodeCodes(const KvCodeTable& numbers, const std::byte* from, int count, std::byte* to) {
  const uint16_t* table = numbers.bf16;
  auto* words = reinterpret_cast<uint16_t*>(to);
  if (numbers.dtype != KvDType::kInt4) {
    const auto* codes = reinterpret_cast<const uint8_t*>(from);
    for (int pair = 0; pair < count / 2; ++pair, codes += 64, words += 64) {
      for (int eight = 0; eight < 8; ++eight) {  // half `eight % 2` of 128-bit lane eight / 2
        uint16_t* out = words + eight % 2 * 32 + eight / 2 * 8;
        for (int i = 0; i < 8; ++i) out[i] = table[codes[eight * 8 + i]];
      }
    }
    return;
  }
  for (int four = 0; four < count / 4; ++four, from += 64, words += 128) {
    for (int lane = 0; lane < 16; ++lane) {
      uint32_t nibbles;
      std::memcpy(&nibbles, from + lane * 4, 4);
      for (int pair = 0; pair < 4; ++pair) {
        words[pair * 32 + lane * 2] = table[nibbles >> (4 * pair) & 15];
        words[pair * 32 + lane * 2 + 1] = table[nibbles >> (16 + 4 * pair) & 15];
      }
    }
  }
}

}  // namespace
}  // namespace octavo
