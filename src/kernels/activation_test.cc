// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu_features.h"
#include "base/float16.h"
#include "kernels/activation_rows.h"

namespace octavo {
namespace {

// One row encoded by one set of encoders, with padding.
struct Encoded {
  std::vector<std::byte> out;
  std::vector<float> scales, sums_f32;
  std::vector<int32_t> sums;
  int32_t row_sum = 0;

  Encoded(const std::vector<float>& x, int64_t sum_group, void (*encode)(const ActivationRow&),
          float static_scale = 0) {
    const auto cols = static_cast<int64_t>(x.size());
    out.assign(x.size() * 4 + 64, std::byte{0});
    scales.assign(x.size() / 32 + 1, -1.0f);
    const size_t groups = sum_group == 0 ? 0 : (x.size() + sum_group - 1) / sum_group;
    sums_f32.assign(groups, -1.0f);
    sums.assign(groups, -1);
    encode({x.data(), cols, out.data(), scales.data(), &row_sum, sums.data(), sums_f32.data(), sum_group,
            static_scale});
  }
  template <typename T>
  bool SameBits(const std::vector<T>& a, const std::vector<T>& b) const {
    return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
  }
  bool operator==(const Encoded& o) const {
    return out == o.out && SameBits(scales, o.scales) && SameBits(sums_f32, o.sums_f32) &&
           sums == o.sums && row_sum == o.row_sum;
  }
};

std::vector<float> RandomRow(size_t cols, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, 1.5f);
  std::vector<float> x(cols);
  for (float& v : x) v = normal(rng);
  return x;
}

std::vector<std::vector<float>> Rows() {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<std::vector<float>> rows;
  for (size_t cols : {1u, 7u, 16u, 33u, 128u, 129u, 300u, 576u, 1536u}) {
    rows.push_back(RandomRow(cols, static_cast<uint32_t>(cols)));
    rows.emplace_back(cols, 0.0f);
    auto row = RandomRow(cols, 99);
    row[cols / 2] = kInf;
    rows.push_back(row);
    row[cols / 3] = std::numeric_limits<float>::quiet_NaN();
    rows.push_back(row);
    for (float& v : row) v = 1e-42f;  // denormal
    row[0] = -1e-44f;
    rows.push_back(row);
    for (size_t i = 0; i < cols; ++i) row[i] = static_cast<float>(i % 255) - 127.0f + 0.5f;  // ties
    rows.push_back(row);
    for (float& v : row) v = std::numeric_limits<float>::max();
    rows.push_back(row);
  }
  return rows;
}

using Encode = void (*ActivationEncoders::*)(const ActivationRow&);

void ExpectSameAsReference(const ActivationEncoders& encoders) {
  const Encode formats[] = {&ActivationEncoders::f32, &ActivationEncoders::bf16,
                            &ActivationEncoders::int8, &ActivationEncoders::fp8,
                            &ActivationEncoders::fp8_group128};
  for (const auto& x : Rows()) {
    for (int64_t group : {int64_t{0}, int64_t{10}, int64_t{32}, int64_t{128}, static_cast<int64_t>(x.size())}) {
      for (size_t f = 0; f < std::size(formats); ++f) {
        for (const float scale : {0.0f, 0.0123f, 0x1p-9f}) {  // a static one saturates
          const Encoded want(x, group, kActivationEncoders_reference.*formats[f], scale);
          const Encoded got(x, group, encoders.*formats[f], scale);
          EXPECT_TRUE(want == got) << "format " << f << " cols " << x.size() << " group " << group
                                   << " static " << scale;
        }
      }
    }
  }
}

void ExpectSameInt8Groups(const ActivationEncoders& encoders) {
  for (const auto& x : Rows()) {
    for (const int64_t group : {0, 16, 32}) {
      const Encoded want(x, group, kActivationEncoders_reference.int8_group32);
      EXPECT_TRUE(want == Encoded(x, group, encoders.int8_group32)) << "cols " << x.size() << " group " << group;
    }
  }
}

TEST(ActivationRowsTest, Avx2EqualsReference) {
  if (DetectedIsa() < IsaLevel::kAvx2) GTEST_SKIP() << "no AVX2";
  ExpectSameAsReference(kActivationEncoders_avx2);
  ExpectSameInt8Groups(kActivationEncoders_avx2);
}

TEST(ActivationRowsTest, Avx512EqualsReference) {
  if (DetectedIsa() < IsaLevel::kAvx512) GTEST_SKIP() << "no AVX-512";
  ExpectSameAsReference(kActivationEncoders_avx512);
  ExpectSameInt8Groups(kActivationEncoders_avx512);
}

TEST(ActivationBufferTest, Int8FollowsTheDocumentedRule) {
  ActivationBuffer buffer;
  ASSERT_TRUE(buffer.Reserve({ActivationFormat::kInt8, 2}, 1, 5).ok());
  const float x[5] = {1.0f, -2.0f, 0.5f, 0.0f, 4.0f};
  buffer.EncodeRow(0, x);
  const ActivationView& v = buffer.view();
  EXPECT_EQ(v.scales[0], 4.0f / 127.0f);
  const int8_t want[5] = {32, -64, 16, 0, 127};  // 31.75, -63.5, 15.875, 0, 127; ties to even
  for (int i = 0; i < 5; ++i) EXPECT_EQ(v.Row<int8_t>(0)[i], want[i]);
  EXPECT_EQ(v.row_sums[0], 111);
  EXPECT_EQ(v.group_sums[0], -32);
  EXPECT_EQ(v.group_sums[1], 16);
  EXPECT_EQ(v.group_sums[2], 127);
}

TEST(ActivationBufferTest, Int8GroupsHaveTheirOwnScales) {
  ActivationBuffer buffer;
  EXPECT_FALSE(buffer.Reserve({ActivationFormat::kInt8Group32, 64}, 1, 40).ok());
  ASSERT_TRUE(buffer.Reserve({ActivationFormat::kInt8Group32, 16}, 1, 40).ok());
  float x[40] = {};
  x[3] = -2.0f;
  x[17] = 1.0f;
  x[33] = 0.5f;
  x[39] = std::numeric_limits<float>::infinity();
  buffer.EncodeRow(0, x);
  const ActivationView& v = buffer.view();
  ASSERT_EQ(v.scales_per_row(), 2);
  EXPECT_EQ(v.scales[0], 2.0f / 127.0f);
  EXPECT_TRUE(std::isnan(v.scales[1]));  // its group alone is lost
  EXPECT_EQ(v.Row<int8_t>(0)[3], -127);
  EXPECT_EQ(v.Row<int8_t>(0)[17], 64);  // 63.5, ties to even
  EXPECT_EQ(v.Row<int8_t>(0)[33], 0);
  EXPECT_EQ(v.group_sums[0], -127);
  EXPECT_EQ(v.group_sums[1], 64);
  EXPECT_EQ(v.group_sums_f32[1], 64.0f * (2.0f / 127.0f));
  EXPECT_EQ(v.group_sums[2], 0);
}

TEST(ActivationBufferTest, StaticScalesSaturate) {
  ActivationBuffer buffer;
  const float x[3] = {1.0f, -0.26f, 300.0f};
  ASSERT_TRUE(buffer.Reserve({.format = ActivationFormat::kInt8, .static_scale = 0.5f}, 1, 3).ok());
  buffer.EncodeRow(0, x);
  EXPECT_EQ(buffer.view().scales[0], 0.5f);
  EXPECT_EQ(buffer.view().Row<int8_t>(0)[0], 2);
  EXPECT_EQ(buffer.view().Row<int8_t>(0)[1], -1);
  EXPECT_EQ(buffer.view().Row<int8_t>(0)[2], 127);
  EXPECT_EQ(buffer.view().row_sums[0], 128);
  ASSERT_TRUE(buffer.Reserve({.format = ActivationFormat::kFp8, .static_scale = 0.5f}, 1, 3).ok());
  buffer.EncodeRow(0, x);
  EXPECT_EQ(buffer.view().scales[0], 0.5f);
  EXPECT_EQ(Bf16ToF32(buffer.view().Row<uint16_t>(0)[0]), 2.0f);
  EXPECT_EQ(Bf16ToF32(buffer.view().Row<uint16_t>(0)[2]), 448.0f);
  // The same memory serves the next layer's scale, and rows with their own.
  buffer.SetStaticScale(0.25f);
  buffer.EncodeRow(0, x);
  EXPECT_EQ(buffer.view().scales[0], 0.25f);
  EXPECT_EQ(Bf16ToF32(buffer.view().Row<uint16_t>(0)[0]), 4.0f);
  buffer.SetStaticScale(0);
  buffer.EncodeRow(0, x);
  EXPECT_EQ(buffer.view().scales[0], 300.0f / 448.0f);
}

TEST(ActivationBufferTest, Fp8HoldsE4M3ValuesWithinHalfAStep) {
  const std::vector<float> x = RandomRow(300, 5);
  ActivationBuffer buffer;
  for (ActivationFormat format : {ActivationFormat::kFp8, ActivationFormat::kFp8Group128}) {
    ASSERT_TRUE(buffer.Reserve({format, 0}, 1, 300).ok());
    buffer.EncodeRow(0, x.data());
    const ActivationView& v = buffer.view();
    for (int64_t i = 0; i < 300; ++i) {
      const float q = Bf16ToF32(v.Row<uint16_t>(0)[i]);
      const float scale = v.scales[format == ActivationFormat::kFp8 ? 0 : i / 128];
      EXPECT_EQ(q, E4M3ToF32(F32ToE4M3(q)));
      const auto at = static_cast<size_t>(i);
      // Half a step of three mantissa bits, or of the subnormal grid.
      EXPECT_LE(std::abs(q * scale - x[at]), std::max(std::abs(x[at]) / 16.0f, scale * 0x1p-10f) * 1.001f);
    }
  }
}

TEST(ActivationBufferTest, ZeroRowStaysZeroAndNonFiniteRowBecomesNan) {
  ActivationBuffer buffer;
  ASSERT_TRUE(buffer.Reserve({ActivationFormat::kInt8, 0}, 2, 64).ok());
  std::vector<float> x(64, 0.0f);
  buffer.EncodeRow(0, x.data());
  x[3] = -std::numeric_limits<float>::infinity();
  buffer.EncodeRow(1, x.data());
  EXPECT_TRUE(std::isfinite(buffer.view().scales[0]));
  EXPECT_EQ(buffer.view().row_sums[0], 0);
  EXPECT_TRUE(std::isnan(buffer.view().scales[1]));
  EXPECT_EQ(buffer.view().Row<int8_t>(1)[3], 0);
}

TEST(ActivationBufferTest, PaddingIsZeroAfterReuse) {
  ActivationBuffer buffer;
  ASSERT_TRUE(buffer.Reserve({ActivationFormat::kF32, 0}, 3, 500).ok());
  const std::vector<float> x = RandomRow(500, 1);
  for (int64_t row = 0; row < 3; ++row) buffer.EncodeRow(row, x.data());
  for (int64_t cols : {int64_t{1}, int64_t{100}, int64_t{129}, int64_t{480}}) {
    for (ActivationFormat format : {ActivationFormat::kBf16, ActivationFormat::kInt8}) {
      ASSERT_TRUE(buffer.Reserve({format, 0}, 3, cols).ok());
      const ActivationView& v = buffer.view();
      for (int64_t row = 0; row < 3; ++row) buffer.EncodeRow(row, x.data());
      const int64_t size = format == ActivationFormat::kBf16 ? 2 : 1;
      EXPECT_GE((v.row_stride - cols) * size, 64);
      EXPECT_GE(v.row_stride, (cols + 127) / 128 * 128);
      EXPECT_NE(v.row_stride * size % 4096, 0);
      for (int64_t row = 0; row < 3; ++row) {
        const auto* bytes = v.Row<std::byte>(0) + row * v.row_stride * size;
        for (int64_t i = cols * size; i < v.row_stride * size; ++i) ASSERT_EQ(bytes[i], std::byte{0});
      }
    }
  }
}

TEST(ActivationBufferTest, SliceShiftsEveryPointer) {
  ActivationBuffer buffer;
  ASSERT_TRUE(buffer.Reserve({ActivationFormat::kFp8Group128, 64}, 3, 256).ok());
  const ActivationView& v = buffer.view();
  const ActivationView s = v.Slice(2, 1);
  EXPECT_EQ(s.rows, 1);
  EXPECT_EQ(s.Row<uint16_t>(0), v.Row<uint16_t>(2));
  EXPECT_EQ(s.scales, v.scales + 4);
  EXPECT_EQ(s.group_sums_f32, v.group_sums_f32 + 8);
}

TEST(ActivationBufferTest, RefusesNonsense) {
  ActivationBuffer buffer;
  EXPECT_FALSE(buffer.Reserve({ActivationFormat::kF32, 0}, -1, 4).ok());
  EXPECT_FALSE(buffer.Reserve({ActivationFormat::kF32, 0}, 1, 0).ok());
  EXPECT_FALSE(buffer.Reserve({ActivationFormat::kF32, -5}, 1, 4).ok());
}

TEST(ActivationBufferTest, TileOrderHoldsTheBytesOfRowOrder) {
  for (const ActivationFormat format : {ActivationFormat::kInt8, ActivationFormat::kBf16, ActivationFormat::kF32}) {
    for (const int64_t cols : {int64_t{5}, int64_t{64}, int64_t{300}}) {
      ActivationBuffer rows, tiles;
      ASSERT_TRUE(rows.Reserve({.format = format}, 50, cols).ok());
      ASSERT_TRUE(tiles.Reserve({.format = format, .tiles = true}, 50, cols).ok());
      rows.SetRows(41, /*tiles=*/true);
      tiles.SetRows(41, /*tiles=*/true);
      ASSERT_FALSE(rows.view().tiled);
      ASSERT_TRUE(tiles.view().tiled);
      for (int64_t row = 0; row < 41; ++row) {
        const std::vector<float> x = RandomRow(static_cast<size_t>(cols), static_cast<uint32_t>(row));
        rows.EncodeRow(row, x.data());
        tiles.EncodeRow(row, x.data());
      }
      // Whole chunks, zeros beyond `cols` included.
      const int64_t bytes = (cols * rows.view().element_bytes() + 63) / 64 * 64;
      for (int64_t row = 0; row < 41; ++row) {
        for (int64_t at = 0; at < bytes; ++at) ASSERT_EQ(*rows.view().At(row, at), *tiles.view().At(row, at));
      }
    }
  }
}

TEST(ActivationBufferTest, PaddingIsZeroAgainAfterTileOrder) {
  ActivationBuffer buffer;
  ASSERT_TRUE(buffer.Reserve({.format = ActivationFormat::kInt8, .tiles = true}, 64, 70).ok());
  const std::vector<float> ones(70, 1.0f);
  buffer.SetRows(64, /*tiles=*/true);
  for (int64_t row = 0; row < 64; ++row) buffer.EncodeRow(row, ones.data());
  for (const int64_t count : {3, 40}) {
    buffer.SetRows(count);
    for (int64_t row = 0; row < count; ++row) {
      buffer.EncodeRow(row, ones.data());
      for (int64_t col = 70; col < buffer.view().row_stride; ++col) {
        ASSERT_EQ(buffer.view().Row<int8_t>(row)[col], 0) << row << " " << col;
      }
    }
  }
}

}  // namespace
}  // namespace octavo
