// SPDX-License-Identifier: Apache-2.0
// GPTQ and AWQ: what the reader refuses, and that the encoder writes what the reader reads. Bytes made by
// other libraries are in tests/golden/schemes.
#include "schemes/transposed_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemes/open_linear.h"
#include "schemes/test_checkpoint.h"
#include "schemes/transposed_encoder.h"

namespace octavo {
namespace {

using testing::HasSubstr;
using Form = TransposedTarget::Form;

constexpr int64_t kN = 64;
constexpr int64_t kK = 96;

Json ConfigOf(Form form, int bits, int64_t group_size) {
  if (form == Form::kAwq) {
    return {{"quant_method", "awq"}, {"bits", bits}, {"group_size", group_size}, {"version", "gemm"}};
  }
  return {{"quant_method", "gptq"},
          {"bits", bits},
          {"group_size", group_size},
          {"checkpoint_format", form == Form::kGptq ? "gptq" : "gptq_v2"}};
}

IntRows RandomRows(int bits, int64_t groups, bool symmetric, uint32_t seed) {
  std::mt19937 random(seed);
  IntRows rows{.count = kN, .codes = {}, .zeros = {}, .scales = {}};
  for (int64_t i = 0; i < kN * kK; ++i) rows.codes.push_back(static_cast<uint8_t>(random() % (1u << bits)));
  for (int64_t i = 0; i < kN * groups; ++i) {
    rows.zeros.push_back(static_cast<uint8_t>(symmetric ? 1u << (bits - 1) : random() % (1u << bits)));
    rows.scales.push_back(F16ToF32(static_cast<uint16_t>(0x2000 + random() % 0x400)));
  }
  return rows;
}

void AddEncoded(TestCheckpoint& folder, const TransposedTarget& target, const IntRows& rows) {
  TransposedEncoder encoder(target);
  // In two ranges, the second first.
  const int64_t cut = TransposedEncoder::kRowAlignment;
  for (const int64_t begin : {cut, int64_t{0}}) {
    const int64_t end = begin == 0 ? cut : kN;
    const int64_t groups = target.groups();
    const IntRows part{
        .count = end - begin,
        .codes = {rows.codes.begin() + begin * kK, rows.codes.begin() + end * kK},
        .zeros = {rows.zeros.begin() + begin * groups, rows.zeros.begin() + end * groups},
        .scales = {rows.scales.begin() + begin * groups, rows.scales.begin() + end * groups}};
    const Status status = encoder.AddRows(begin, part);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  const auto specs = TransposedTensors(target);
  ASSERT_TRUE(specs.ok()) << specs.status().ToString();
  const auto bytes = encoder.bytes();
  ASSERT_EQ(bytes.size(), specs->size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    folder.Add((*specs)[i].name, (*specs)[i].dtype, (*specs)[i].shape,
               std::vector<std::byte>(bytes[i].begin(), bytes[i].end()));
  }
}

// A folder with module "a" of 4-bit codes in groups of 32.
struct Example {
  explicit Example(Form form, bool symmetric = false) {
    folder.config["quantization_config"] = ConfigOf(form, 4, 32);
    AddEncoded(folder, {form, "a", kN, kK, 4, 32}, RandomRows(4, 3, symmetric, 5));
  }
  Result<std::unique_ptr<WeightSource>> Open() {
    auto loader = LinearLoader::Create(folder.Open());
    if (!loader.ok()) return loader.status();
    return loader->OpenLinear("a");
  }
  TestCheckpoint folder;
};

TEST(TransposedFormTest, ReadsWhatTheEncoderWrites) {
  for (const Form form : {Form::kGptq, Form::kGptqV2, Form::kAwq}) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const int64_t group_size : {int64_t{32}, kK}) {
        if (form == Form::kAwq && bits != 4) continue;
        TestCheckpoint folder;
        const TransposedTarget target{form, "a", kN, kK, bits, group_size};
        folder.config["quantization_config"] = ConfigOf(form, bits, group_size);
        const IntRows rows = RandomRows(bits, target.groups(), false, 3);
        AddEncoded(folder, target, rows);
        auto loader = LinearLoader::Create(folder.Open());
        ASSERT_TRUE(loader.ok()) << loader.status().ToString();
        auto source = loader->OpenLinear("a");
        ASSERT_TRUE(source.ok()) << source.status().ToString();
        WeightRows scratch;
        IntRows read;
        const Status status = ReadIntRows(**source, 0, kN, scratch, read);
        ASSERT_TRUE(status.ok()) << status.ToString();
        EXPECT_EQ(read.codes, rows.codes) << bits;
        EXPECT_EQ(read.zeros, rows.zeros) << bits;
        EXPECT_EQ(read.scales, rows.scales) << bits;
        EXPECT_TRUE((*source)->spec().has_min);
      }
    }
  }
}

TEST(TransposedFormTest, StoredZerosTellSymmetry) {
  for (const Form form : {Form::kGptq, Form::kGptqV2, Form::kAwq}) {
    auto source = Example(form, true).Open();
    ASSERT_TRUE(source.ok()) << source.status().ToString();
    EXPECT_FALSE((*source)->spec().has_min);
    EXPECT_EQ((*source)->info().activation, ActivationFormat::kBf16);
  }
}

TEST(TransposedFormTest, VersionOneStoresTheZeroMinusOne) {
  std::vector<uint32_t> words = {0x77777777, 0x7F7F7F7F, 0xFFFFFFFF};
  AddPackedOnes(4, std::span(words).first(1));
  AddPackedOnes(8, std::span(words).subspan(1, 1));
  EXPECT_EQ(words[0], 0x88888888u);
  EXPECT_EQ(words[1], 0x80808080u);
  // Zeros of 0 borrow across the word; the reader's carry undoes it.
  std::vector<uint32_t> zeros = {0x00000000, 0x12340000};
  const std::vector<uint32_t> before = zeros;
  SubtractPackedOnes(4, zeros);
  EXPECT_NE(zeros, before);
  AddPackedOnes(4, zeros);
  EXPECT_EQ(zeros, before);
}

TEST(TransposedFormTest, ActOrderIsExpandedAndSaysSo) {
  Example example(Form::kGptq, true);
  auto plain = example.Open();
  ASSERT_TRUE(plain.ok());
  std::vector<float> want(kN * kK), have(kN * kK);
  ASSERT_TRUE((*plain)->DequantizeRows(0, kN, want.data()).ok());
  std::vector<int32_t> groups(kK);
  for (int64_t i = 0; i < kK; ++i) groups[static_cast<size_t>(i)] = static_cast<int32_t>(i % 3);
  example.folder.Add("a.g_idx", DType::kI32, Shape{kK}, groups);
  auto source = example.Open();
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ((*source)->spec().code, CodeType::kBf16);
  EXPECT_THAT((*source)->info().note, HasSubstr("act-order"));
  ASSERT_TRUE((*source)->DequantizeRows(0, kN, have.data()).ok());
  EXPECT_NE(have, want);
  groups[7] = 3;
  example.folder.Add("a.g_idx", DType::kI32, Shape{kK}, groups);
  EXPECT_THAT(example.Open().status().message(), HasSubstr("'a.g_idx': row 7 column 0 is 3, want 0 to 2"));
}

TEST(TransposedFormTest, ErrorsNameTheTensorFoundAndWanted) {
  struct Case {
    Form form;
    const char* tensor;
    DType dtype;
    Shape shape;
    const char* words;
  };
  const std::vector<Case> cases = {
      {Form::kGptq, "a.qweight", DType::kI32, Shape{12}, "a.qweight': shape [12], want"},
      {Form::kGptq, "a.qweight", DType::kF32, Shape{12, kN}, "a.qweight': type F32, want I32"},
      {Form::kGptq, "a.qweight", DType::kI32, Shape{12, kN - 1}, "a.qweight': shape [12, 63], want"},
      {Form::kGptq, "a.scales", DType::kF16, Shape{4, kN}, "a.scales': shape [4, 64], want [3, 64]"},
      {Form::kGptq, "a.qzeros", DType::kI32, Shape{3, kN}, "a.qzeros': shape [3, 64], want [3, 8]"},
      {Form::kGptq, "a.g_idx", DType::kI32, Shape{kK + 1}, "a.g_idx': shape [97], want [96]"},
      {Form::kAwq, "a.qweight", DType::kI32, Shape{0, 8}, "a.qweight': shape [0, 8], want"},
      {Form::kAwq, "a.scales", DType::kI32, Shape{3, kN}, "a.scales': type I32, want F16"},
  };
  for (const Case& c : cases) {
    Example example(c.form);
    const auto bytes = *BytesOf(c.dtype, static_cast<uint64_t>(c.shape.NumElements()));
    example.folder.Add(c.tensor, c.dtype, c.shape, std::vector<uint8_t>(bytes));
    const auto source = example.Open();
    ASSERT_FALSE(source.ok()) << c.words;
    EXPECT_THAT(source.status().message(), HasSubstr(c.words));
  }
  Example missing(Form::kGptq);
  missing.folder.Remove("a.qzeros");
  EXPECT_THAT(missing.Open().status().message(), HasSubstr("no tensor 'a.qzeros'"));
}

TEST(TransposedFormTest, TheEncoderRefusesWhatTheFormCannotSay) {
  EXPECT_THAT(TransposedTensors({Form::kAwq, "a", kN, kK, 8, 32}).status().message(),
              HasSubstr("AWQ stores 4 bits"));
  EXPECT_THAT(TransposedTensors({Form::kGptq, "a", kN, kK, 5, 32}).status().message(), HasSubstr("5-bit"));
  EXPECT_THAT(TransposedTensors({Form::kGptq, "a", 40, kK, 4, 32}).status().message(), HasSubstr("[40, 96]"));
  EXPECT_THAT(TransposedTensors({Form::kAwq, "a", kN, kK, 4, 64}).status().message(), HasSubstr("group size 64"));
  TransposedEncoder encoder({Form::kAwq, "a", kN, kK, 4, 32});
  IntRows rows = RandomRows(4, 3, true, 1);
  rows.scales[4] = 0.1f;
  EXPECT_THAT(encoder.AddRows(0, rows).message(), HasSubstr("a: row 1 group 1: scale 0.1 is no half float"));
}

TEST(TransposedFormTest, OldFoldersDescribeThemselvesInAFileOfTheirOwn) {
  Example example(Form::kGptq, true);
  const Json config = example.folder.config["quantization_config"];
  example.folder.config = Json::object();
  const std::string path = example.folder.Open().path() + "/quantize_config.json";
  ASSERT_TRUE(WriteFileAtomically(path, R"({"bits":4,"group_size":32,"desc_act":false,"sym":true})").ok());
  auto source = example.Open();
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ((*source)->info().scheme, "GPTQ");
  ASSERT_TRUE(WriteFileAtomically(path, R"({"bits":4,"group_size":"x"})").ok());
  EXPECT_THAT(example.Open().status().message(), HasSubstr("quantize_config.json"));
}

}  // namespace
}  // namespace octavo
