// SPDX-License-Identifier: Apache-2.0
// Files of the writer through the reader; blocks against ggml's arithmetic written out.
#include "io/gguf_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "base/float16.h"
#include "io/ggml_quantize.h"
#include "io/gguf_reader.h"
#include "io/io_test_util.h"

namespace octavo {
namespace {

TEST(GgufWriterTest, ReaderSeesMetadataAndTensors) {
  const testing::TempFolder folder;
  const std::string path = folder / "m.gguf";
  GgufMetadataWriter metadata;
  metadata.String("general.architecture", "llama");
  metadata.U32("llama.block_count", 7);
  metadata.F32("llama.rope.freq_base", 5e5f);
  metadata.Bool("tokenizer.ggml.add_bos_token", true);
  metadata.Strings("tokenizer.ggml.tokens", {"a", "", "ü"});
  metadata.Ints("tokenizer.ggml.token_type", {1, 3, 6});
  metadata.Floats("tokenizer.ggml.scores", {0.5f, -1.0f, 2.0f});
  const std::vector<GgufTensorSpec> specs = {{"a.weight", GgmlType::kF32, Shape{3}},
                                             {"b.weight", GgmlType::kQ8_0, Shape{2, 64}}};
  const float values[] = {1, 2, 3};
  {
    auto writer = GgufWriter::Create(path, metadata, specs);
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    EXPECT_FALSE((*writer)->WriteAt(0, 8, std::as_bytes(std::span(values))).ok());
    ASSERT_TRUE((*writer)->WriteAt(0, 0, std::as_bytes(std::span(values))).ok());
    EXPECT_FALSE(std::filesystem::exists(path));
    ASSERT_TRUE((*writer)->Finish().ok());
  }
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  auto reader = GgufReader::Open(path);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  EXPECT_EQ(*(*reader)->metadata().GetInt("llama.block_count"), 7);
  EXPECT_EQ(*(*reader)->metadata().GetStrings("tokenizer.ggml.tokens"),
            (std::vector<std::string>{"a", "", "ü"}));
  const GgufTensor* b = (*reader)->Find("b.weight");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->shape, (Shape{2, 64}));
  EXPECT_EQ(b->bytes, 2u * 2 * 34);
}

TEST(GgufWriterTest, AnUnfinishedFileDisappears) {
  const testing::TempFolder folder;
  const std::vector<GgufTensorSpec> specs = {{"a.weight", GgmlType::kF32, Shape{3}}};
  { ASSERT_TRUE(GgufWriter::Create(folder / "m.gguf", {}, specs).ok()); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  const std::vector<GgufTensorSpec> cut = {{"a.weight", GgmlType::kQ4_0, Shape{2, 33}}};
  const auto status = GgufWriter::Create(folder / "m.gguf", {}, cut).status();
  EXPECT_NE(status.message().find("rows of 33 elements, want a multiple of 32"), std::string::npos);
}

TEST(GgmlQuantizeTest, BlocksRoundToTheNearestStep) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0f, 0.1f);
  for (const auto& [type, steps] : {std::pair(GgmlType::kQ8_0, 127.0f), std::pair(GgmlType::kQ4_0, 8.0f)}) {
    std::vector<float> x(128), back(128);
    for (float& value : x) value = normal(random);
    x[0] = 0;
    std::vector<std::byte> row(*GgmlRowBytes(type, x.size()));
    QuantizeRow(type, x.data(), x.size(), row.data());
    DequantizeRow(type, row.data(), x.size(), back.data());
    for (size_t block = 0; block < 128; block += 32) {
      float absmax = 0;
      for (size_t i = block; i < block + 32; ++i) absmax = std::max(absmax, std::abs(x[i]));
      // Half a step, and a whole one where Q4_0 has no code for the positive end; the scale is a half float.
      const float bound = absmax / steps * (type == GgmlType::kQ4_0 ? 1.01f : 0.51f) + absmax * 0x1p-10f;
      for (size_t i = block; i < block + 32; ++i) ASSERT_NEAR(back[i], x[i], bound);
    }
    const std::vector<float> zeros(32);
    QuantizeRow(type, zeros.data(), 32, row.data());
    DequantizeRow(type, row.data(), 32, back.data());
    EXPECT_EQ(back[5], 0.0f);
  }
}

}  // namespace
}  // namespace octavo
