// SPDX-License-Identifier: Apache-2.0
#include "schemes/packed_ints.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace octavo {
namespace {

std::vector<uint32_t> Pack(const std::vector<uint8_t>& u, int bits) {
  std::vector<uint32_t> words(static_cast<size_t>(PackedWords(static_cast<int64_t>(u.size()), bits)));
  PackInts(u.data(), static_cast<int64_t>(u.size()), bits, reinterpret_cast<uint8_t*>(words.data()));
  return words;
}

// q = i mod 8 - 4, stored as q + 4.
std::vector<uint8_t> ThreeBitRamp() {
  std::vector<uint8_t> u(32);
  for (size_t i = 0; i < u.size(); ++i) u[i] = static_cast<uint8_t>(i % 8);
  return u;
}

// The words below were printed by compressed-tensors 0.19 (dense) and 0.17 (word aligned).
TEST(PackedIntsTest, PacksAsCompressedTensorsDoes) {
  std::vector<uint8_t> nibbles(16);
  for (size_t i = 0; i < nibbles.size(); ++i) nibbles[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(Pack(nibbles, 4), (std::vector<uint32_t>{0x76543210, 0xFEDCBA98}));
  EXPECT_EQ(Pack(ThreeBitRamp(), 3), (std::vector<uint32_t>{0x88FAC688, 0xC688FAC6, 0xFAC688FA}));
}

TEST(PackedIntsTest, ReadsBothThreeBitPackings) {
  const std::vector<uint32_t> old = {0x08FAC688, 0x1A23EB1A, 0x2C688FAC, 0x0000003E};
  ASSERT_EQ(PackedWords(32, 3, IntPacking::kWordAligned), 4);
  std::vector<uint8_t> u(32);
  UnpackInts(reinterpret_cast<const uint8_t*>(old.data()), 32, 3, IntPacking::kWordAligned, u.data());
  EXPECT_EQ(u, ThreeBitRamp());
  const std::vector<uint32_t> dense = {0x88FAC688, 0xC688FAC6, 0xFAC688FA};
  UnpackInts(reinterpret_cast<const uint8_t*>(dense.data()), 32, 3, IntPacking::kDense, u.data());
  EXPECT_EQ(u, ThreeBitRamp());
}

TEST(PackedIntsTest, RoundTripsEveryWidthAndTail) {
  std::mt19937 random(1);
  for (int bits = 2; bits <= 8; ++bits) {
    for (int count = 0; count < 100; ++count) {
      std::vector<uint8_t> u(static_cast<size_t>(count));
      for (uint8_t& code : u) code = static_cast<uint8_t>(random() & ((1u << bits) - 1));
      const std::vector<uint32_t> words = Pack(u, bits);
      std::vector<uint8_t> back(u.size() + 1, 0xaa);
      UnpackInts(reinterpret_cast<const uint8_t*>(words.data()), count, bits, IntPacking::kDense,
                 back.data());
      EXPECT_EQ(back.back(), 0xaa);
      back.pop_back();
      EXPECT_EQ(back, u) << bits << " bits, " << count;
    }
  }
}

}  // namespace
}  // namespace octavo
