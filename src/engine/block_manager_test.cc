// SPDX-License-Identifier: Apache-2.0
#include "engine/block_manager.h"

#include <gtest/gtest.h>

#include <numeric>

namespace octavo {
namespace {

constexpr int64_t kBlock = 4;

BlockManager MakeManager(int64_t num_blocks, std::vector<int64_t> windows = {0}) {
  return BlockManager({num_blocks, kBlock, std::move(windows), true}, BlockHasher({1, 2}, "test"));
}

std::vector<int32_t> Tokens(int count, int32_t first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// Allocates and computes all tokens.
SequenceBlocks Compute(BlockManager& manager, const std::vector<int32_t>& tokens) {
  SequenceBlocks blocks = manager.NewSequence("");
  std::vector<BlockCopy> copies;
  const int64_t cached = manager.AcquirePrefix(blocks, tokens);
  const auto size = static_cast<int64_t>(tokens.size());
  EXPECT_TRUE(manager.Allocate(blocks, cached, size - cached, copies));
  manager.Commit(blocks, tokens, size);
  return blocks;
}

TEST(BlockManagerTest, AllocatesByNeedAndRefusesWithoutSideEffects) {
  BlockManager manager = MakeManager(4);
  SequenceBlocks a = manager.NewSequence("");
  std::vector<BlockCopy> copies;
  EXPECT_TRUE(manager.Allocate(a, 0, 5, copies));
  EXPECT_EQ(manager.num_used(), 2);
  EXPECT_TRUE(manager.Allocate(a, 5, 3, copies));  // fits into the last page
  EXPECT_EQ(manager.num_used(), 2);
  EXPECT_FALSE(manager.Allocate(a, 8, 9, copies));
  EXPECT_EQ(manager.num_used(), 2);
  EXPECT_EQ(a.tables[0].size(), 2u);
  manager.Free(a);
  EXPECT_EQ(manager.num_used(), 0);
  EXPECT_TRUE(manager.CheckIntegrity({}).ok());
}

TEST(BlockManagerTest, WriteIntoASharedPageCopiesIt) {
  BlockManager manager = MakeManager(10);
  SequenceBlocks parent = Compute(manager, Tokens(6));
  SequenceBlocks child = manager.Fork(parent);
  EXPECT_EQ(manager.num_used(), 2);
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(manager.Allocate(child, 6, 1, copies));
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, parent.tables[0][1]);
  EXPECT_EQ(copies[0].to, child.tables[0][1]);
  EXPECT_EQ(child.tables[0][0], parent.tables[0][0]);
  copies.clear();
  ASSERT_TRUE(manager.Allocate(parent, 6, 1, copies));  // alone again: writes in place
  EXPECT_TRUE(copies.empty());
  const SequenceBlocks* live[] = {&parent, &child};
  EXPECT_TRUE(manager.CheckIntegrity(live).ok());
}

TEST(BlockManagerTest, SharedPageAtABlockBorderNeedsNoCopy) {
  BlockManager manager = MakeManager(10);
  SequenceBlocks parent = Compute(manager, Tokens(8));
  SequenceBlocks child = manager.Fork(parent);
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(manager.Allocate(child, 8, 1, copies));
  ASSERT_TRUE(manager.Allocate(parent, 8, 1, copies));
  EXPECT_TRUE(copies.empty());
  EXPECT_EQ(manager.num_used(), 4);
}

TEST(BlockManagerTest, PrefixHitsFullPagesButLeavesOneToken) {
  BlockManager manager = MakeManager(20);
  SequenceBlocks a = Compute(manager, Tokens(12));
  SequenceBlocks b = manager.NewSequence("");
  EXPECT_EQ(manager.AcquirePrefix(b, Tokens(12)), 8);  // not 12: logits need a token
  EXPECT_EQ(b.tables[0][0], a.tables[0][0]);
  SequenceBlocks c = manager.NewSequence("");
  EXPECT_EQ(manager.AcquirePrefix(c, Tokens(13)), 12);
  SequenceBlocks d = manager.NewSequence("");
  EXPECT_EQ(manager.AcquirePrefix(d, Tokens(13, 1)), 0);
  const SequenceBlocks* live[] = {&a, &b, &c, &d};
  EXPECT_TRUE(manager.CheckIntegrity(live).ok());
}

TEST(BlockManagerTest, ReusesUncachedThenLeastRecentlyUsedTailFirst) {
  BlockManager manager = MakeManager(8);  // 7 usable
  SequenceBlocks a = Compute(manager, Tokens(8));
  SequenceBlocks b = Compute(manager, Tokens(8, 100));
  manager.Free(a);
  manager.Free(b);
  EXPECT_EQ(manager.num_free_cached(), 4);
  SequenceBlocks c = manager.NewSequence("");
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(manager.Allocate(c, 0, 16, copies));  // 3 blank pages, then a's tail
  EXPECT_EQ(manager.num_free_cached(), 3);
  SequenceBlocks d = manager.NewSequence("");
  EXPECT_EQ(manager.AcquirePrefix(d, Tokens(9)), 4);  // a's head is still there
  SequenceBlocks e = manager.NewSequence("");
  EXPECT_EQ(manager.AcquirePrefix(e, Tokens(9, 100)), 8);  // all of b is
}

TEST(BlockManagerTest, WindowGroupsGiveBackWhatNoQuerySees) {
  BlockManager manager = MakeManager(40, {0, 6});
  const auto tokens = Tokens(30);
  SequenceBlocks a = Compute(manager, tokens);
  // The next query, at 30, sees positions 25..30 of the window group: pages 6 and 7.
  EXPECT_EQ(a.first_live[1], 6);
  EXPECT_EQ(a.tables[1][5], kNullBlock);
  EXPECT_EQ(manager.num_used(), 8 + 2);
  SequenceBlocks b = manager.NewSequence("");
  EXPECT_EQ(manager.AcquirePrefix(b, tokens), 28);  // pages of the window suffice
  const SequenceBlocks* live[] = {&a, &b};
  EXPECT_TRUE(manager.CheckIntegrity(live).ok());
  manager.Free(a);
  manager.Free(b);
  EXPECT_EQ(manager.num_used(), 0);
}

TEST(BlockManagerTest, PrefixShrinksToWhereWindowPagesStillExist) {
  BlockManager manager = MakeManager(14, {0, 6});
  SequenceBlocks a = Compute(manager, Tokens(16));
  manager.Free(a);
  // Takes the blank pages and then the window group's tail, which was freed last but one.
  SequenceBlocks b = manager.NewSequence("");
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(manager.Allocate(b, 0, 4 * kBlock, copies));
  SequenceBlocks c = manager.NewSequence("");
  const int64_t hit = manager.AcquirePrefix(c, Tokens(17));
  for (size_t g = 0; g < 2; ++g) {
    for (auto i = static_cast<size_t>(c.first_live[g]); i < c.tables[g].size(); ++i) {
      EXPECT_NE(c.tables[g][i], kNullBlock);
    }
  }
  EXPECT_LE(hit, 16);
  const SequenceBlocks* live[] = {&b, &c};
  EXPECT_TRUE(manager.CheckIntegrity(live).ok());
}

TEST(BlockManagerTest, IntegrityCheckFindsALostReference) {
  BlockManager manager = MakeManager(10);
  SequenceBlocks a = Compute(manager, Tokens(6));
  const Status status = manager.CheckIntegrity({});  // `a` is alive, but not told
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("1 references, 0 owners"), std::string::npos) << status.message();
}

TEST(BlockManagerTest, ResetForgetsPrefixesOnly) {
  BlockManager manager = MakeManager(10);
  SequenceBlocks a = Compute(manager, Tokens(8));
  manager.ResetPrefixCache();
  SequenceBlocks b = manager.NewSequence("");
  EXPECT_EQ(manager.AcquirePrefix(b, Tokens(9)), 0);
  const SequenceBlocks* live[] = {&a, &b};
  EXPECT_TRUE(manager.CheckIntegrity(live).ok());
}

// Half a page per sequence is all that is lost: under 4 % at ShareGPT-like lengths.
TEST(BlockManagerTest, WasteStaysUnderFourPercentAtShareGptLengths) {
  constexpr int64_t kPage = 16;
  BlockManager manager({4096, kPage, {0}, true}, BlockHasher({1, 2}, "test"));
  int64_t tokens = 0;
  std::vector<BlockCopy> copies;
  for (int64_t i = 0; i < 64; ++i) {
    const int64_t length = 200 + (i * 300 + 32) / 64;  // anywhere between prompt and full output
    SequenceBlocks blocks = manager.NewSequence("");
    ASSERT_TRUE(manager.Allocate(blocks, 0, length, copies));
    tokens += length;
  }
  const double held = static_cast<double>(manager.num_used() * kPage);
  EXPECT_LT(1 - static_cast<double>(tokens) / held, 0.04);
}

}  // namespace
}  // namespace octavo
