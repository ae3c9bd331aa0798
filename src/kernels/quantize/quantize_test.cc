// SPDX-License-Identifier: Apache-2.0
// Every level against the reference, bit for bit.
#include "kernels/quantize/quantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "base/float16.h"

namespace octavo {
namespace {

std::vector<IsaLevel> Levels() {
  std::vector<IsaLevel> levels;
  for (const IsaLevel level : {IsaLevel::kReference, IsaLevel::kAvx2, IsaLevel::kAvx512}) {
    if (level <= DetectedIsa()) levels.push_back(level);
  }
  return levels;
}

// Magnitudes from far below the smallest code to far above the largest, ties and zeros among them.
std::vector<float> Values(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> exponent(-14, 10);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) {
    value = std::exp2(exponent(random)) * (random() % 2 == 0 ? 1.0f : -1.0f);
    if (random() % 4 == 0) value = RoundToBf16(value);
    if (random() % 8 == 0) value = static_cast<float>(static_cast<int>(random() % 41) - 20) * 0.5f;
  }
  return values;
}

class QuantizeOpsTest : public testing::TestWithParam<IsaLevel> {
 protected:
  const QuantizeOps& ops() const { return QuantizeOpsFor(GetParam()); }
  const QuantizeOps& reference() const { return QuantizeOpsFor(IsaLevel::kReference); }
};

TEST_P(QuantizeOpsTest, EqualsTheReferenceAtEveryLength) {
  for (int64_t n = 0; n < 140; ++n) {
    const std::vector<float> x = Values(n, static_cast<uint32_t>(n) + 1);
    const auto size = static_cast<size_t>(n);
    const ValueRange a = ops().range(x.data(), n);
    const ValueRange b = reference().range(x.data(), n);
    EXPECT_EQ(a.lo, b.lo);
    EXPECT_EQ(a.hi, b.hi);
    EXPECT_TRUE(a.finite && b.finite);
    for (const float scale : {1.0f, 0.37f, 0.0078125f, 100.0f}) {
      std::vector<int8_t> q(size), q_want(size);
      ops().to_int(x.data(), n, scale, 3, -8, 7, q.data());
      reference().to_int(x.data(), n, scale, 3, -8, 7, q_want.data());
      EXPECT_EQ(q, q_want);
      ops().to_int(x.data(), n, scale, 0, -128, 127, q.data());
      reference().to_int(x.data(), n, scale, 0, -128, 127, q_want.data());
      EXPECT_EQ(q, q_want);
      std::vector<uint8_t> u(size), u_want(size);
      ops().to_e4m3(x.data(), n, scale, u.data());
      reference().to_e4m3(x.data(), n, scale, u_want.data());
      EXPECT_EQ(u, u_want);
      ops().to_uint4(x.data(), n, scale, 3, 7, u.data());
      reference().to_uint4(x.data(), n, scale, 3, 7, u_want.data());
      EXPECT_EQ(u, u_want);
      std::vector<uint8_t> packed(size / 2), packed_want(size / 2);
      ops().pack_nibbles(u.data(), n / 2 * 2, 0, packed.data());
      reference().pack_nibbles(u.data(), n / 2 * 2, 0, packed_want.data());
      EXPECT_EQ(packed, packed_want);
    }
  }
}

TEST_P(QuantizeOpsTest, RoundsEveryE4M3TieToEven) {
  std::vector<float> x;
  for (int code = 0; code < 0x7e; ++code) {
    const float middle = (E4M3ToF32(static_cast<uint8_t>(code)) +
                          E4M3ToF32(static_cast<uint8_t>(code + 1))) / 2;
    for (const float value : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) {
      x.push_back(value);
      x.push_back(-value);
    }
  }
  std::vector<uint8_t> q(x.size());
  ops().to_e4m3(x.data(), static_cast<int64_t>(x.size()), 1.0f, q.data());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(q[i], F32ToE4M3(x[i])) << x[i];
}

TEST_P(QuantizeOpsTest, FindsNanAndInfinityAnywhere) {
  for (size_t at = 0; at < 70; ++at) {
    for (const float bad : {std::nanf(""), -std::nanf(""), INFINITY, -INFINITY}) {
      std::vector<float> x(70, 0.25f);
      x[at] = bad;
      EXPECT_FALSE(ops().range(x.data(), 70).finite);
    }
  }
  std::vector<float> zeros(33, -0.0f);
  const ValueRange range = ops().range(zeros.data(), 33);
  EXPECT_EQ(range.lo, 0);
  EXPECT_EQ(range.hi, 0);
}

TEST_P(QuantizeOpsTest, PacksSignedCodesByTheirOffset) {
  const std::vector<uint8_t> q = {0xf8, 0x07, 0xff, 0x00};  // -8, 7, -1, 0
  std::vector<uint8_t> bytes(2);
  ops().pack_nibbles(q.data(), 4, 8, bytes.data());
  EXPECT_EQ(bytes, (std::vector<uint8_t>{0xf0, 0x87}));
}

TEST_P(QuantizeOpsTest, WidensEveryBf16) {
  std::vector<uint16_t> bits(1 << 16);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> out(bits.size());
  ops().widen_bf16(bits.data(), 1 << 16, out.data());
  for (size_t i = 0; i < bits.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), static_cast<uint32_t>(i) << 16);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, QuantizeOpsTest, testing::ValuesIn(Levels()),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace octavo
