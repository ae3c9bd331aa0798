// SPDX-License-Identifier: Apache-2.0
// GGUF parsing: every metadata type, and a precise error for each way a file can be wrong.
#include "io/gguf_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "io/io_test_util.h"

namespace octavo {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;

std::string ErrorOf(const std::string& text) {
  const auto gguf = GgufReader::FromFile(MmapFile::FromMemory("m.gguf", text));
  return gguf.ok() ? "OK" : gguf.status().message();
}

// One F32 tensor "t" [4] at offset 0, after `extra` keys.
std::string OneTensor(const std::function<void(GgufBuilder&)>& tensor, uint64_t num_tensors = 1) {
  GgufBuilder builder;
  builder.Header(num_tensors, 1).KeyString("general.architecture", "llama");
  tensor(builder);
  builder.Pad().Raw(std::string(64, '\1'));
  return builder.text();
}

TEST(GgufReaderTest, ReadsEveryMetadataType) {
  const auto gguf = GgufReader::Open(OCTAVO_SOURCE_DIR "/tests/golden/io/ggml_types.gguf");
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  const GgufMetadata& metadata = (*gguf)->metadata();
  EXPECT_EQ(*metadata.GetInt("test.u8"), 200);
  EXPECT_EQ(*metadata.GetInt("test.i8"), -100);
  EXPECT_EQ(*metadata.GetInt("test.u16"), 60000);
  EXPECT_EQ(*metadata.GetInt("test.i16"), -30000);
  EXPECT_EQ(*metadata.GetInt("test.u32"), 4000000000);
  EXPECT_EQ(*metadata.GetInt("test.i32"), -2000000000);
  EXPECT_EQ(*metadata.GetInt("test.i64"), -(int64_t{1} << 62));
  EXPECT_EQ(*metadata.GetInt("test.u64"), INT64_MAX);
  EXPECT_EQ(*metadata.GetDoubleOr("test.f32", 0), static_cast<double>(0.1f));
  EXPECT_EQ(*metadata.GetDoubleOr("test.f64", 0), 0.1);
  EXPECT_TRUE(*metadata.GetBoolOr("test.bool", false));
  EXPECT_EQ(*metadata.GetString("test.string"), "caf\u00e9");
  EXPECT_THAT(*metadata.GetStrings("test.strings"), ::testing::ElementsAre("a", "", "\u20ac uro"));
  EXPECT_THAT(*metadata.GetInts("test.ints"), ::testing::ElementsAre(1, -2, 3));
  EXPECT_THAT(*metadata.GetFloats("test.floats"), ::testing::ElementsAre(0.5f, -1.5f));
  EXPECT_EQ((*gguf)->architecture(), "llama");
}

TEST(GgufReaderTest, GettersNameTheKeyAndTheType) {
  const auto gguf = GgufReader::Open(OCTAVO_SOURCE_DIR "/tests/golden/io/ggml_types.gguf");
  ASSERT_TRUE(gguf.ok());
  const GgufMetadata& metadata = (*gguf)->metadata();
  EXPECT_THAT(metadata.GetInt("test.string").status().message(),
              HasSubstr("'test.string' is STRING, want an integer"));
  EXPECT_THAT(metadata.GetInts("test.strings").status().message(), HasSubstr("STRING[3]"));
  EXPECT_THAT(metadata.GetStrings("test.string").status().message(), HasSubstr("STRING[]"));
  EXPECT_EQ(metadata.GetInt("absent").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(*metadata.GetIntOr("absent", 7), 7);
  EXPECT_TRUE(metadata.GetStrings("absent")->empty());
}

TEST(GgufReaderTest, ReversesDimensions) {
  const std::string text = OneTensor([](GgufBuilder& b) { b.Tensor("t", {4, 2}, 0, 0); });
  const auto gguf = GgufReader::FromFile(MmapFile::FromMemory("m.gguf", text));
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  EXPECT_EQ((*gguf)->Find("t")->shape, (Shape{2, 4}));
  EXPECT_EQ((*gguf)->Find("t")->bytes, 32u);
  EXPECT_EQ((*gguf)->Find("u"), nullptr);
}

TEST(GgufReaderTest, RefusesBadHeaders) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("m.gguf: magic at byte 0"));
  EXPECT_THAT(ErrorOf("GGML1234"), HasSubstr("does not begin with 'GGUF'"));
  EXPECT_THAT(ErrorOf(GgufBuilder().Header(0, 0, 1).text()), HasSubstr("version 1, want 2 or 3"));
  EXPECT_THAT(ErrorOf(GgufBuilder().Header(0, 0, 4).text()), HasSubstr("version 4"));
  EXPECT_THAT(ErrorOf(GgufBuilder().Header(0, 0, 0x03000000).text()), HasSubstr("big-endian"));
  EXPECT_THAT(ErrorOf(GgufBuilder().Header(UINT64_MAX, 0).text()),
              HasSubstr("tensors, want at most 0"));
  EXPECT_THAT(ErrorOf(GgufBuilder().Header(0, UINT64_MAX).text()),
              HasSubstr("keys, want at most 0"));
  EXPECT_THAT(ErrorOf(GgufBuilder().Header(0, 0).text()),
              HasSubstr("'general.architecture' is missing"));
}

TEST(GgufReaderTest, RefusesBadMetadata) {
  const auto with_key = [](const std::function<void(GgufBuilder&)>& key) {
    GgufBuilder builder;
    builder.Header(0, 2).KeyString("general.architecture", "llama");
    key(builder);
    return ErrorOf(builder.Raw(std::string(64, '\0')).text());
  };
  const uint64_t huge = uint64_t{1} << 60;
  EXPECT_THAT(with_key([](GgufBuilder& b) { b.KeyU32("general.architecture", 1); }),
              HasSubstr("'general.architecture' appears twice"));
  EXPECT_THAT(with_key([](GgufBuilder& b) { b.KeyU32("", 1); }), HasSubstr("is empty"));
  EXPECT_THAT(with_key([](GgufBuilder& b) { b.String("k").Put(uint32_t{13}); }),
              HasSubstr("'k' at byte 78 has value type 13"));
  EXPECT_THAT(with_key([](GgufBuilder& b) { b.String("k").Put(uint32_t{9}).Put(uint32_t{9}); }),
              HasSubstr("array of arrays"));
  EXPECT_THAT(
      with_key([&](GgufBuilder& b) { b.String("k").Put(uint32_t{9}).Put(uint32_t{8}).Put(huge); }),
      HasSubstr("elements, the file has"));
  EXPECT_THAT(
      with_key([&](GgufBuilder& b) { b.String("k").Put(uint32_t{9}).Put(uint32_t{12}).Put(huge); }),
      HasSubstr("elements, the file has"));
  EXPECT_THAT(with_key([&](GgufBuilder& b) { b.String("k").Put(uint32_t{8}).Put(huge); }),
              HasSubstr("has length 1152921504606846976"));
  EXPECT_THAT(with_key([](GgufBuilder& b) { b.String("k").Put(uint32_t{7}).Put(uint8_t{2}); }),
              HasSubstr("neither 0 nor 1"));
  EXPECT_THAT(with_key([](GgufBuilder& b) { b.KeyU32("general.alignment", 24); }),
              HasSubstr("'general.alignment' is 24"));
  EXPECT_THAT(with_key([](GgufBuilder& b) { b.KeyU32("split.count", 3); }),
              HasSubstr("split GGUF"));
}

TEST(GgufReaderTest, RefusesBadTensors) {
  const auto error = [](const std::function<void(GgufBuilder&)>& tensor, uint64_t count = 1) {
    return ErrorOf(OneTensor(tensor, count));
  };
  const uint64_t big = uint64_t{1} << 40;
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {256}, 10, 0); }),
              HasSubstr("'t' has type Q2_K, want"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {4}, 99, 0); }),
              HasSubstr("unknown type 99"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {33}, 2, 0); }),
              HasSubstr("multiple of 32"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {4, 0}, 0, 0); }),
              HasSubstr("dimension of 0"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {}, 0, 0); }), HasSubstr("0 dimensions"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {1, 1, 1, 1, 1}, 0, 0); }),
              HasSubstr("5 dimensions"));
  EXPECT_THAT(error([&](GgufBuilder& b) { b.Tensor("t", {big, big}, 0, 0); }),
              HasSubstr("overflows"));
  EXPECT_THAT(error([&](GgufBuilder& b) { b.Tensor("t", {big}, 0, 0); }),
              HasSubstr("the file has 64"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {4}, 0, 8); }), HasSubstr("multiple of 32"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {4}, 0, 96); }),
              HasSubstr("data bytes [96"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {4}, 0, 0).Tensor("t", {4}, 0, 32); }, 2),
              HasSubstr("duplicate tensor 't'"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("t", {16}, 0, 0).Tensor("u", {4}, 0, 32); }, 2),
              HasSubstr("overlap"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor("", {4}, 0, 0); }), HasSubstr("is empty"));
  EXPECT_THAT(error([](GgufBuilder& b) { b.Tensor(std::string(65, 'x'), {4}, 0, 0); }),
              HasSubstr("length 65"));
}

TEST(GgufTokenizerTest, ChecksLengthsAndIds) {
  GgufBuilder builder;
  builder.Header(0, 4)
      .KeyString("general.architecture", "llama")
      .KeyString("tokenizer.ggml.model", "gpt2");
  builder.String("tokenizer.ggml.tokens").Put(uint32_t{9}).Put(uint32_t{8}).Put(uint64_t{2});
  builder.String("a").String("b").KeyU32("tokenizer.ggml.bos_token_id", 2);
  const auto gguf = GgufReader::FromFile(MmapFile::FromMemory("m.gguf", builder.text()));
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  EXPECT_THAT(ReadGgufTokenizer(**gguf).status().message(),
              HasSubstr("'tokenizer.ggml.bos_token_id' is 2, want an index of 2 tokens"));
}

}  // namespace
}  // namespace octavo
