// SPDX-License-Identifier: Apache-2.0
// Packing of 2 to 8 bit integers into 32-bit words.
#include "schemes/packed_ints.h"

#include <cstring>
#include <vector>

#include "kernels/quantize/quantize.h"

namespace octavo {
namespace {

// Two codes per byte: the word boundaries never matter, and this is most of all bytes read.
void UnpackNibbles(const uint8_t* bytes, int64_t count, uint8_t* u) {
  for (int64_t i = 0; i < count / 2; ++i) {
    u[2 * i] = bytes[i] & 15;
    u[2 * i + 1] = static_cast<uint8_t>(bytes[i] >> 4);
  }
  if (count % 2 != 0) u[count - 1] = bytes[count / 2] & 15;
}

void UnpackDense(const uint8_t* bytes, int64_t count, int bits, uint8_t* u) {
  const uint32_t mask = (1u << bits) - 1;
  uint32_t window = 0;  // the next `held` bits of the stream, lowest first
  int held = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (held < bits) {
      window |= uint32_t{*bytes++} << held;
      held += 8;
    }
    u[i] = static_cast<uint8_t>(window & mask);
    window >>= bits;
    held -= bits;
  }
}

void UnpackWordAligned(const uint8_t* bytes, int64_t count, int bits, uint8_t* u) {
  const int per_word = 32 / bits;
  const uint32_t mask = (1u << bits) - 1;
  for (int64_t i = 0; i < count; i += per_word, bytes += 4) {
    uint32_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    for (int64_t j = i; j < i + per_word && j < count; ++j, word >>= bits) {
      u[j] = static_cast<uint8_t>(word & mask);
    }
  }
}

}  // namespace

int64_t PackedWords(int64_t count, int bits, IntPacking packing) {
  if (packing == IntPacking::kDense) return (count * bits + 31) / 32;
  const int64_t per_word = 32 / bits;
  return (count + per_word - 1) / per_word;
}

void PackInts(const uint8_t* u, int64_t count, int bits, uint8_t* words) {
  const int64_t bytes = PackedWords(count, bits) * 4;
  uint32_t window = 0;
  int held = 0;
  int64_t next = 0;
  for (int64_t i = 0; i < count; ++i) {
    window |= uint32_t{u[i]} << held;
    held += bits;
    for (; held >= 8; held -= 8, window >>= 8) words[next++] = static_cast<uint8_t>(window);
  }
  if (held > 0) words[next++] = static_cast<uint8_t>(window);
  std::memset(words + next, 0, static_cast<size_t>(bytes - next));
}

void PackSigned(const uint8_t* q, int64_t count, int bits, uint8_t offset, uint8_t* words) {
  if (bits == 4 && count % 8 == 0) {  // whole words
    return ActiveQuantizeOps().pack_nibbles(q, count, offset, words);
  }
  std::vector<uint8_t> u(q, q + count);
  const auto mask = static_cast<uint8_t>((1u << bits) - 1);
  for (uint8_t& code : u) code = static_cast<uint8_t>((code + offset) & mask);
  PackInts(u.data(), count, bits, words);
}

void UnpackInts(const uint8_t* words, int64_t count, int bits, IntPacking packing, uint8_t* u) {
  if (bits == 8) {
    std::memcpy(u, words, static_cast<size_t>(count));
  } else if (bits == 4) {
    UnpackNibbles(words, count, u);
  } else if (packing == IntPacking::kWordAligned) {
    UnpackWordAligned(words, count, bits, u);
  } else {
    UnpackDense(words, count, bits, u);
  }
}

}  // namespace octavo
