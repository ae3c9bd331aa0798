// SPDX-License-Identifier: Apache-2.0
#include "engine/block_hash.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace octavo {
namespace {

HashKey ReferenceKey() { return {0x0706050403020100u, 0x0f0e0d0c0b0a0908u}; }

// First entries of the reference implementation's vectors_sip128: key 00..0f, input 00..(n-1).
TEST(SipHash128Test, EqualsTheReferenceVectors) {
  const Hash128 empty = SipHash128(ReferenceKey(), {});
  EXPECT_EQ(empty.lo, 0xe6a825ba047f81a3u);
  EXPECT_EQ(empty.hi, 0x930255c71472f66du);
  const std::array<std::byte, 1> one = {std::byte{0}};
  const Hash128 h1 = SipHash128(ReferenceKey(), one);
  EXPECT_EQ(h1.lo, 0x44af996bd8c187dau);
  EXPECT_EQ(h1.hi, 0x45fc229b11597634u);
}

TEST(BlockHasherTest, DependsOnTokensParentContextSaltAndKey) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4};
  const BlockHasher a(ReferenceKey(), "bf16");
  const Hash128 base = a.Block(a.Root(""), tokens);
  EXPECT_EQ(base, BlockHasher(ReferenceKey(), "bf16").Block(a.Root(""), tokens));
  EXPECT_NE(base, a.Block(a.Root("salt"), tokens));
  EXPECT_NE(base, a.Block(base, tokens));
  EXPECT_NE(base, a.Block(a.Root(""), std::vector<int32_t>{1, 2, 4, 3}));
  const BlockHasher fp8(ReferenceKey(), "fp8");
  EXPECT_NE(base, fp8.Block(fp8.Root(""), tokens));
  const BlockHasher other({3, 4}, "bf16");
  EXPECT_NE(base, other.Block(other.Root(""), tokens));
}

}  // namespace
}  // namespace octavo
