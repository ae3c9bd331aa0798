// SPDX-License-Identifier: Apache-2.0
// SipHash-2-4-128 and the block chain on top of it.
#include "engine/block_hash.h"

#include <array>
#include <bit>
#include <cstring>
#include <random>

namespace octavo {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  }

  void Absorb(uint64_t word) {
    v3 ^= word;
    Rounds(2);
    v0 ^= word;
  }
};

}  // namespace

HashKey HashKey::Random() {
  std::random_device device;
  const auto word = [&device] { return (uint64_t{device()} << 32) | device(); };
  return {word(), word()};
}

Hash128 SipHash128(const HashKey& key, std::span<const std::byte> bytes) {
  SipState s{key.k0 ^ 0x736f6d6570736575u, key.k1 ^ 0x646f72616e646f6du ^ 0xeeu,
             key.k0 ^ 0x6c7967656e657261u, key.k1 ^ 0x7465646279746573u};
  const size_t whole = bytes.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, 8);
    s.Absorb(word);
  }
  uint64_t last = static_cast<uint64_t>(bytes.size()) << 56;
  for (size_t i = whole; i < bytes.size(); ++i) {
    last |= std::to_integer<uint64_t>(bytes[i]) << (8 * (i - whole));
  }
  s.Absorb(last);
  s.v2 ^= 0xee;
  s.Rounds(4);
  Hash128 hash{s.v0 ^ s.v1 ^ s.v2 ^ s.v3, 0};
  s.v1 ^= 0xdd;
  s.Rounds(4);
  hash.hi = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
  return hash;
}

Hash128 BlockHasher::Text(std::string_view text) const {
  return SipHash128(key_, std::as_bytes(std::span(text)));
}

Hash128 BlockHasher::Pair(const Hash128& a, const Hash128& b) const {
  const std::array<uint64_t, 4> words = {a.lo, a.hi, b.lo, b.hi};
  return SipHash128(key_, std::as_bytes(std::span(words)));
}

Hash128 BlockHasher::Root(std::string_view salt) const { return Pair(context_, Text(salt)); }

Hash128 BlockHasher::Block(const Hash128& parent, std::span<const int32_t> tokens) const {
  return Pair(parent, SipHash128(key_, std::as_bytes(tokens)));
}

}  // namespace octavo
