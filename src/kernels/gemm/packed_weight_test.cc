// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/packed_weight.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/gemm/gemm_test_util.h"

namespace octavo {
namespace {

using testing::CopyRows;
using testing::RandomActivations;
using testing::RandomWeights;

WeightPart Part(const WeightSpec& spec, ActivationFormat format, uint32_t seed) {
  auto all = std::make_shared<WeightRows>(RandomWeights(spec, seed));
  return {spec, format, [spec, all](int64_t begin, int64_t count, WeightRows& rows) {
            rows = CopyRows(spec, *all, begin, count);
            return Status::Ok();
          }};
}

WeightSpec Int4(int64_t n, int64_t k) { return {CodeType::kInt, 4, ScaleLayout::kGroup, 64, true, n, k}; }
WeightSpec Bf16(int64_t n, int64_t k) { return {CodeType::kBf16, 16, ScaleLayout::kNone, 0, false, n, k}; }

std::vector<float> Multiply(const PackedWeight& w, const ActivationBuffer& x, ThreadPool& pool) {
  std::vector<float> y(static_cast<size_t>(x.view().rows * w.n()), -7.0f);
  w.Multiply(x.view(), {y.data(), w.n(), nullptr, false}, pool);
  return y;
}

TEST(PackedWeightTest, ThreadCountNeverChangesABit) {
  ThreadPool one(1);
  for (int64_t n : {int64_t{5}, int64_t{64}, int64_t{161}, int64_t{700}}) {
    const std::vector<WeightPart> parts = {Part(Int4(n, 192), ActivationFormat::kBf16, 1),
                                           Part(Int4(n / 2 + 1, 192), ActivationFormat::kBf16, 2)};
    const auto single = PackedWeight::Pack(parts, DetectedIsa(), one);
    ASSERT_TRUE(single.ok());
    EXPECT_EQ(single->n(), n + n / 2 + 1);
    for (int64_t rows : {int64_t{1}, int64_t{7}, int64_t{130}}) {
      const ActivationBuffer x = RandomActivations(single->activations()[0], rows, 192, 3);
      const std::vector<float> want = Multiply(*single, x, one);
      for (int threads : {2, 3}) {
        ThreadPool pool(threads);
        const auto packed = PackedWeight::Pack(parts, DetectedIsa(), pool);
        ASSERT_TRUE(packed.ok());
        const std::vector<float> got = Multiply(*packed, x, pool);
        EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * 4), 0) << n << " " << threads;
      }
    }
  }
}

// Memory that another matrix left behind must not show through the padding of rows or columns.
TEST(PackedWeightTest, MemoryIsUsedAgain) {
  ThreadPool pool(2);
  for (int level = 0; level <= static_cast<int>(DetectedIsa()); ++level) {
    const auto isa = static_cast<IsaLevel>(level);
    for (const WeightSpec& spec : {Bf16(70, 37), WeightSpec{CodeType::kF32, 32, ScaleLayout::kNone, 0, false, 70, 37}}) {
      const ActivationFormat format =
          spec.code == CodeType::kF32 ? ActivationFormat::kF32 : ActivationFormat::kBf16;
      const std::vector<WeightPart> parts = {Part(spec, format, 4)};
      const auto fresh = PackedWeight::Pack(parts, isa, pool);
      ASSERT_TRUE(fresh.ok());
      auto memory = HugeBuffer::Allocate(size_t{1} << 20);
      ASSERT_TRUE(memory.ok());
      std::memset(memory->data(), 0x7f, memory->size());
      const std::byte* at = memory->data();
      auto again = PackedWeight::Pack(parts, isa, pool, std::move(*memory));
      ASSERT_TRUE(again.ok());
      const ActivationBuffer x = RandomActivations(fresh->activations()[0], 9, 37, 5);
      const std::vector<float> want = Multiply(*fresh, x, pool), got = Multiply(*again, x, pool);
      EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * 4), 0) << NameOf(isa);
      EXPECT_EQ(std::move(*again).TakeMemory().data(), at);
    }
  }
}

TEST(PackedWeightTest, PartsWithOtherActivationsAreLeftAlone) {
  ThreadPool pool(2);
  const auto packed = PackedWeight::Pack({Part(Bf16(70, 128), ActivationFormat::kBf16, 1),
                                          Part(Int4(50, 128), ActivationFormat::kInt8, 2),
                                          Part(Bf16(30, 128), ActivationFormat::kBf16, 3)},
                                         DetectedIsa(), pool);
  ASSERT_TRUE(packed.ok()) << packed.status().ToString();
  ASSERT_EQ(packed->activations().size(), 2u);
  EXPECT_EQ(packed->activations()[1].format, ActivationFormat::kInt8);
  EXPECT_EQ(packed->activations()[1].sum_group, 64);
  const ActivationBuffer x = RandomActivations(packed->activations()[0], 4, 128, 3);
  const std::vector<float> y = Multiply(*packed, x, pool);
  for (int64_t m = 0; m < 4; ++m) {
    for (int64_t n = 0; n < 150; ++n) {
      EXPECT_EQ(y[static_cast<size_t>(m * 150 + n)] == -7.0f, n >= 70 && n < 120) << m << " " << n;
    }
  }
  EXPECT_NE(packed->KernelNames().find('+'), std::string::npos);
}

TEST(PackedWeightDeathTest, ActivationsThatNoPartWantsAreNotPassedOverInSilence) {
  ThreadPool pool(1);
  const auto packed = PackedWeight::Pack({Part(Int4(50, 128), ActivationFormat::kInt8, 2)}, DetectedIsa(), pool);
  ASSERT_TRUE(packed.ok()) << packed.status().ToString();
  ActivationSpec other = packed->activations()[0];
  other.sum_group = 32;
  const ActivationBuffer x = RandomActivations(other, 4, 128, 3);
  EXPECT_DEATH(Multiply(*packed, x, pool), "no part wants");
  const ActivationBuffer none = RandomActivations(other, 0, 128, 3);
  EXPECT_TRUE(Multiply(*packed, none, pool).empty());
}

TEST(PackedWeightTest, ReportsTheSourcesError) {
  ThreadPool pool(2);
  WeightPart part = Part(Bf16(300, 64), ActivationFormat::kBf16, 1);
  part.rows = [](int64_t begin, int64_t, WeightRows&) {
    return begin >= 128 ? DataLoss("row 128 is damaged") : Status::Ok();
  };
  const auto packed = PackedWeight::Pack({part}, DetectedIsa(), pool);
  ASSERT_FALSE(packed.ok());
  EXPECT_EQ(packed.status().code(), StatusCode::kDataLoss);
}

TEST(PackedWeightTest, RefusesIllegalPairsAndMixedK) {
  ThreadPool pool(1);
  EXPECT_FALSE(PackedWeight::Pack({}, DetectedIsa(), pool).ok());
  EXPECT_FALSE(
      PackedWeight::Pack({Part(Bf16(8, 64), ActivationFormat::kInt8, 1)}, DetectedIsa(), pool).ok());
  EXPECT_FALSE(PackedWeight::Pack({Part(Bf16(8, 64), ActivationFormat::kBf16, 1),
                                   Part(Bf16(8, 32), ActivationFormat::kBf16, 1)},
                                  DetectedIsa(), pool)
                   .ok());
}

}  // namespace
}  // namespace octavo
