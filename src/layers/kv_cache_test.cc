// SPDX-License-Identifier: Apache-2.0
// Grouping of layers and page addresses.
#include "layers/kv_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

namespace octavo {
namespace {

std::vector<KvLayerSpec> AlternatingWindows(int layers) {
  std::vector<KvLayerSpec> specs;
  for (int i = 0; i < layers; ++i) {
    specs.push_back({.num_kv_heads = 2, .head_dim = 32, .window = i % 2 == 0 ? 64 : 0});
  }
  return specs;
}

TEST(KvCacheTest, GroupsLayersByWindow) {
  const auto groups = MakeKvGroups(AlternatingWindows(5), KvDType::kBf16, 16);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].layers, (std::vector<int>{0, 2, 4}));
  EXPECT_EQ(groups[0].window, 64);
  EXPECT_EQ(groups[1].layers, (std::vector<int>{1, 3}));
  EXPECT_EQ(KvPoolPageBytes(groups), 3 * groups[0].layout.page_bytes());
}

TEST(KvCacheTest, PagesOfLayersInOneBlockDoNotOverlap) {
  auto cache = KvCache::Create(AlternatingWindows(4), KvDType::kBf16, 16, 3);
  ASSERT_TRUE(cache.ok()) << cache.status().ToString();
  std::set<const std::byte*> starts;
  for (const int layer : {0, 2}) {
    const KvPages pages = cache->PagesOf(layer);
    for (size_t block = 0; block < 3; ++block) {
      starts.insert(pages.base + block * pages.block_stride);
    }
  }
  ASSERT_EQ(starts.size(), 6u);
  const std::byte* previous = nullptr;
  for (const std::byte* start : starts) {
    if (previous != nullptr) {
      EXPECT_GE(static_cast<size_t>(start - previous), cache->LayoutOf(0).page_bytes());
    }
    previous = start;
  }
}

TEST(KvCacheTest, CopyBlockCopiesEveryLayer) {
  auto cache = KvCache::Create(AlternatingWindows(4), KvDType::kBf16, 16, 2);
  ASSERT_TRUE(cache.ok());
  const KvPages pages = cache->PagesOf(2);
  const size_t bytes = cache->LayoutOf(2).page_bytes();
  std::memset(pages.base, 0x5a, bytes);
  cache->CopyBlock(0, 1);
  EXPECT_EQ(std::memcmp(pages.base, pages.base + pages.block_stride, bytes), 0);
}

TEST(KvCacheTest, RefusesBadSizes) {
  EXPECT_FALSE(KvCache::Create(AlternatingWindows(1), KvDType::kBf16, 24, 1).ok());
  EXPECT_FALSE(KvCache::Create(AlternatingWindows(1), KvDType::kBf16, 16, 0).ok());
  EXPECT_FALSE(KvCache::Create(AlternatingWindows(1), KvDType::kBf16, 16, int64_t{1} << 60).ok());
}

}  // namespace
}  // namespace octavo
