// SPDX-License-Identifier: Apache-2.0
// Block decoders against values from the gguf package (tests/golden/io/make_golden.py).
#include "io/ggml_blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "io/gguf_reader.h"

namespace octavo {
namespace {

constexpr const char* kGolden = OCTAVO_SOURCE_DIR "/tests/golden/io/ggml_types.gguf";

std::vector<std::byte> Load(const GgufReader& gguf, const GgufTensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  EXPECT_TRUE(gguf.file().ReadRange(tensor.offset, tensor.bytes, bytes.data()).ok());
  return bytes;
}

// value = scale * (code - offset) [+ min], from UnpackRow's outputs.
std::vector<float> Recombine(const GgmlTypeInfo& info, const std::byte* row, size_t k) {
  const size_t groups = k / static_cast<size_t>(info.group_elems);
  std::vector<int8_t> codes(k);
  std::vector<float> scales(groups);
  std::vector<float> mins(groups);
  UnpackRow(info.type, row, k, codes.data(), scales.data(), info.has_min ? mins.data() : nullptr);
  std::vector<float> values(k);
  for (size_t i = 0; i < k; ++i) {
    const size_t group = i / static_cast<size_t>(info.group_elems);
    const float product = scales[group] * static_cast<float>(codes[i] - info.code_offset);
    values[i] = info.has_min ? product + mins[group] : product;
  }
  return values;
}

class GgmlBlocksTest : public ::testing::TestWithParam<GgmlType> {};

TEST_P(GgmlBlocksTest, EqualsTheGgufPackageBitForBit) {
  const GgmlTypeInfo& info = InfoOf(GetParam());
  const auto gguf = GgufReader::Open(kGolden);
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  const GgufTensor* blocks = (*gguf)->Find(info.name);
  const GgufTensor* expected = (*gguf)->Find(std::string(info.name) + ".expected");
  ASSERT_TRUE(blocks != nullptr && expected != nullptr);
  ASSERT_EQ(blocks->type, info.type);
  ASSERT_EQ(blocks->shape, expected->shape);
  const std::vector<std::byte> rows = Load(**gguf, *blocks);
  const std::vector<std::byte> want = Load(**gguf, *expected);
  const auto cols = static_cast<size_t>(blocks->shape.cols());
  const uint64_t row_bytes = GgmlRowBytes(info.type, cols).value();
  std::vector<float> values(cols);
  for (size_t row = 0; row < static_cast<size_t>(blocks->shape.rows()); ++row) {
    const std::byte* source = rows.data() + row * row_bytes;
    const std::byte* want_row = want.data() + row * cols * sizeof(float);
    DequantizeRow(info.type, source, cols, values.data());
    EXPECT_EQ(std::memcmp(values.data(), want_row, cols * sizeof(float)), 0) << "row " << row;
    const std::vector<float> recombined = Recombine(info, source, cols);
    EXPECT_EQ(std::memcmp(recombined.data(), want_row, cols * sizeof(float)), 0) << "row " << row;
  }
}

INSTANTIATE_TEST_SUITE_P(BlockTypes, GgmlBlocksTest,
                         ::testing::Values(GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0,
                                           GgmlType::kQ5_1, GgmlType::kQ8_0, GgmlType::kQ4_K,
                                           GgmlType::kQ5_K, GgmlType::kQ6_K),
                         [](const auto& param_info) {
                           return std::string(InfoOf(param_info.param).name);
                         });

TEST(GgmlTypesTest, KQuantScalesGiveTheGroupScales) {
  const auto gguf = GgufReader::Open(kGolden);
  ASSERT_TRUE(gguf.ok());
  for (const GgmlType type : {GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K}) {
    const std::vector<std::byte> block = Load(**gguf, *(*gguf)->Find(InfoOf(type).name));
    const KQuantScales packed = UnpackKQuantScales(type, block.data());
    std::vector<int8_t> codes(256);
    std::vector<float> scales(16);
    std::vector<float> mins(16);
    UnpackRow(type, block.data(), 256, codes.data(), scales.data(), mins.data());
    for (int group = 0; group < 256 / InfoOf(type).group_elems; ++group) {
      const auto g = static_cast<size_t>(group);
      EXPECT_EQ(scales[g], packed.d * static_cast<float>(packed.scales[g]));
      if (InfoOf(type).has_min) {
        EXPECT_EQ(mins[g], -(packed.dmin * static_cast<float>(packed.mins[g])));
      }
    }
  }
}

TEST(GgmlTypesTest, PlainFloatsConvertExactly) {
  const uint16_t halves[] = {0x3c00, 0x0001, 0xfbff};
  float values[3] = {};
  DequantizeRow(GgmlType::kF16, reinterpret_cast<const std::byte*>(halves), 3, values);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], 0x1p-24f);
  EXPECT_EQ(values[2], -65504.0f);
  const uint16_t bf16[] = {0x3f80, 0xc000};
  DequantizeRow(GgmlType::kBF16, reinterpret_cast<const std::byte*>(bf16), 2, values);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -2.0f);
}

TEST(GgmlTypesTest, KnowsSizesAndForeignNames) {
  EXPECT_EQ(GgmlRowBytes(GgmlType::kQ6_K, 512), 420u);
  EXPECT_EQ(GgmlRowBytes(GgmlType::kQ4_0, 33), std::nullopt);
  EXPECT_EQ(GgmlRowBytes(GgmlType::kF32, uint64_t{1} << 63), std::nullopt);
  EXPECT_EQ(FindGgmlType(10), nullptr);
  EXPECT_EQ(GgmlTypeName(10), "Q2_K");
  EXPECT_EQ(GgmlTypeName(23), "IQ4_XS");
  EXPECT_EQ(GgmlTypeName(29), "IQ1_M");
  EXPECT_EQ(GgmlTypeName(39), "MXFP4");
  EXPECT_EQ(GgmlTypeName(4000), "unknown");
}

}  // namespace
}  // namespace octavo
