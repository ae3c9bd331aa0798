// SPDX-License-Identifier: Apache-2.0
// Keyed 128-bit hashes of token blocks, chained so that a hash stands for everything before it.
//
//   hash[0] = H(root, tokens of block 0)      root = H(KV type, scales, rope variant, salt)
//   hash[i] = H(hash[i - 1], tokens of block i)
//
// SipHash-2-4 with 128-bit output (Aumasson, Bernstein 2012) under a secret random key: a client
// cannot construct prompts that collide with another's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace octavo {

struct Hash128 {
  uint64_t lo = 0;
  uint64_t hi = 0;
  bool operator==(const Hash128&) const = default;
};

// For unordered containers; the bits are already uniform.
struct Hash128Hasher {
  size_t operator()(const Hash128& h) const { return static_cast<size_t>(h.lo); }
};

struct HashKey {
  uint64_t k0 = 0;
  uint64_t k1 = 0;

  // From the operating system's entropy.
  static HashKey Random();
};

Hash128 SipHash128(const HashKey& key, std::span<const std::byte> bytes);

// Makes the hash chain of one engine's blocks.
class BlockHasher {
 public:
  // `context` names all that decides what a page holds besides the tokens: KV type, scales, rope.
  BlockHasher(const HashKey& key, std::string_view context) : key_(key), context_(Text(context)) {}

  // Parent of a sequence's first block.
  Hash128 Root(std::string_view salt) const;

  // `tokens` is one full block.
  Hash128 Block(const Hash128& parent, std::span<const int32_t> tokens) const;

 private:
  Hash128 Text(std::string_view text) const;
  Hash128 Pair(const Hash128& a, const Hash128& b) const;

  HashKey key_;
  Hash128 context_;
};

}  // namespace octavo
