// SPDX-License-Identifier: Apache-2.0
// Alignment, moves and refusal of impossible sizes.
#include "base/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace octavo {
namespace {

TEST(AlignedBufferTest, AlignsAndMoves) {
  auto result = AlignedBuffer::Allocate(100);
  ASSERT_TRUE(result.ok());
  AlignedBuffer first = std::move(result).value();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data()) % AlignedBuffer::kAlignment, 0u);
  std::memset(first.data(), 7, first.size());
  AlignedBuffer second = std::move(first);
  EXPECT_EQ(second.size(), 100u);
  EXPECT_EQ(second.As<uint8_t>()[99], 7);
  EXPECT_EQ(first.data(), nullptr);  // NOLINT: moved-from is documented as empty.
}

TEST(AlignedBufferTest, RefusesImpossibleSizes) {
  const auto result = AlignedBuffer::Allocate(SIZE_MAX - 10);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(AlignedBuffer::Allocate(0).ok());
}

TEST(HugeBufferTest, IsAlignedZeroedAndWritable) {
  auto result = HugeBuffer::Allocate((size_t{3} << 20) + 5);
  ASSERT_TRUE(result.ok());
  HugeBuffer& buffer = *result;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % HugeBuffer::kAlignment, 0u);
  EXPECT_EQ(buffer.data()[buffer.size() - 1], std::byte{0});
  std::memset(buffer.data(), 1, buffer.size());
}

TEST(HugeBufferTest, SharesMappingsAndOutlivesItsNeighbours) {
  std::vector<HugeBuffer> buffers;
  for (size_t i = 0; i < 200; ++i) {  // more than one mapping's worth
    auto made = HugeBuffer::Allocate((size_t{1} << 20) + i);
    ASSERT_TRUE(made.ok());
    EXPECT_EQ(made->data()[made->size() - 1], std::byte{0});
    std::memset(made->data(), static_cast<int>(i), made->size());
    buffers.push_back(std::move(made).value());
  }
  for (size_t i = 0; i < buffers.size(); i += 2) buffers[i] = HugeBuffer();
  for (size_t i = 1; i < buffers.size(); i += 2) {
    EXPECT_EQ(buffers[i].data()[0], static_cast<std::byte>(i));
    EXPECT_EQ(buffers[i].data()[buffers[i].size() - 1], static_cast<std::byte>(i));
  }
}

TEST(HugeBufferTest, MovesLeaveTheSourceEmpty) {
  HugeBuffer first = HugeBuffer::Allocate(HugeBuffer::kShared + 1).value();
  first.data()[HugeBuffer::kShared] = std::byte{9};
  const HugeBuffer second = std::move(first);
  EXPECT_EQ(second.data()[HugeBuffer::kShared], std::byte{9});
  EXPECT_EQ(first.data(), nullptr);  // NOLINT: moved-from is documented as empty.
}

TEST(HugeBufferTest, RefusesImpossibleSizes) {
  EXPECT_EQ(HugeBuffer::Allocate(SIZE_MAX / 8).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(HugeBuffer::Allocate(SIZE_MAX).status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace octavo
