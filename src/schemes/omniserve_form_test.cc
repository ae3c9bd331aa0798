// SPDX-License-Identifier: Apache-2.0
// omniserve's form: the drawn order, rows there and back, and damaged tensors. Folders that Python made are
// read by CompressedGoldenTest and DamagedFormsTest.
#include "schemes/omniserve_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "schemes/omniserve_encoder.h"
#include "schemes/open_linear.h"
#include "schemes/test_checkpoint.h"

namespace octavo {
namespace {

using testing::HasSubstr;
using Form = OmniserveTarget::Form;

constexpr int64_t kN = 96;
constexpr int64_t kK = 256;
constexpr int64_t kGroups = 2;

// Random rows, whose values stay within int8.
WeightRows RandomRows(Form form, int64_t count) {
  std::mt19937 random(7);
  const auto pick = [&](int lo, int hi) {
    return static_cast<uint8_t>(std::uniform_int_distribution<int>(lo, hi)(random));
  };
  WeightRows rows;
  rows.count = count;
  for (int64_t i = 0; i < count * kK; ++i) rows.codes.push_back(pick(0, form == Form::kInt8 ? 255 : 15));
  for (int64_t i = 0; i < count; ++i) rows.scales.push_back(static_cast<float>(pick(1, 255)) * 0x1p-14f);
  for (int64_t i = 0; i < count && form == Form::kChannels; ++i) rows.zeros2.push_back(pick(0, 15));
  for (int64_t i = 0; i < count * kGroups && form == Form::kGroups; ++i) {
    rows.scales2.push_back(pick(1, 16));
    rows.zeros2.push_back(pick(rows.scales2.back() > 8 ? 8 : 0, rows.scales2.back() > 8 ? 8 : 15));
  }
  return rows;
}

WeightRows Slice(const WeightRows& from, int64_t begin, int64_t count) {
  WeightRows to;
  to.count = count;
  const auto cut = [&](const auto& all, auto& part) {
    const auto width = static_cast<int64_t>(all.size()) / from.count;
    part.assign(all.begin() + begin * width, all.begin() + (begin + count) * width);
  };
  cut(from.codes, to.codes);
  cut(from.scales, to.scales);
  cut(from.scales2, to.scales2);
  cut(from.zeros2, to.zeros2);
  return to;
}

struct Example {
  explicit Example(Form form, WeightRows stored = {})
      : target{.form = form, .module = "a", .n = kN, .k = kK, .group_size = 128} {
    rows = stored.count > 0 ? std::move(stored) : RandomRows(form, kN);
    const auto specs = OmniserveTensors(target);
    EXPECT_TRUE(specs.ok()) << specs.status().ToString();
    OmniserveEncoder encoder(target);
    EXPECT_TRUE(encoder.AddRows(64, Slice(rows, 64, 32)).ok());
    EXPECT_TRUE(encoder.AddRows(0, Slice(rows, 0, 64)).ok());
    const auto bytes = encoder.bytes();
    EXPECT_EQ(bytes.size(), specs->size());
    for (size_t i = 0; i < bytes.size(); ++i) {
      const TensorSpec& spec = (*specs)[i];
      folder.Add(spec.name, spec.dtype, spec.shape, std::vector<std::byte>(bytes[i].begin(), bytes[i].end()));
    }
  }

  // The checkpoint of the returned source stays in `example`.
  Result<std::unique_ptr<WeightSource>> Open() {
    OCTAVO_ASSIGN_OR_RETURN(const LinearLoader loader, LinearLoader::Create(folder.Open()));
    EXPECT_EQ(loader.config().method(), "omniserve");
    return loader.OpenLinear("a");
  }

  std::string ReadError() {
    auto source = Open();
    if (!source.ok()) return source.status().message();
    WeightRows all;
    return (*source)->ReadRows(0, kN, all).message();
  }

  OmniserveTarget target;
  WeightRows rows;
  TestCheckpoint folder;
};

TEST(OmniserveFormTest, TilesAreOrderedAsDrawn) {
  std::set<std::pair<int, int>> seen;
  for (int i = 0; i < 512; ++i) {
    const OmniservePlace place = OmniservePlaceOf(i);
    EXPECT_TRUE(place.row >= 0 && place.row < 16 && place.col >= 0 && place.col < 32) << i;
    seen.emplace(place.row, place.col);
  }
  EXPECT_EQ(seen.size(), 512u);
  const auto is = [](int index, int row, int col) {
    const OmniservePlace place = OmniservePlaceOf(index);
    return place.row == row && place.col == col;
  };
  EXPECT_TRUE(is(0, 0, 0) && is(3, 0, 3) && is(4, 8, 0) && is(8, 0, 16) && is(16, 0, 4) && is(64, 1, 0));
  EXPECT_TRUE(is(511, 15, 31));
  for (const auto& [row, column] : {std::pair(0, 0), {8, 1}, {16, 2}, {24, 3}, {1, 4}, {31, 31}, {40, 33}}) {
    EXPECT_EQ(OmniserveColumnOf(row), column);
  }
}

TEST(OmniserveFormTest, GroupsComeBack) {
  Example example(Form::kGroups);
  const auto source = example.Open();
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ((*source)->spec().scales, ScaleLayout::kTwoLevel);
  EXPECT_EQ((*source)->spec().group_size, 128);
  EXPECT_EQ((*source)->info().activation, ActivationFormat::kInt8);
  // Ranges that cut tiles.
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, kN}, {5, 40}, {31, 2}, {95, 1}}) {
    WeightRows have;
    ASSERT_TRUE((*source)->ReadRows(begin, count, have).ok());
    const WeightRows want = Slice(example.rows, begin, count);
    EXPECT_EQ(have.codes, want.codes);
    EXPECT_EQ(have.scales, want.scales);
    EXPECT_EQ(have.scales2, want.scales2);
    EXPECT_EQ(have.zeros2, want.zeros2);
  }
  WeightRows rows;
  EXPECT_EQ((*source)->ReadRows(90, 7, rows).code(), StatusCode::kInvalidArgument);
}

TEST(OmniserveFormTest, ChannelsAndInt8ComeBack) {
  Example channels(Form::kChannels);
  auto source = channels.Open();
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  WeightRows have;
  ASSERT_TRUE((*source)->ReadRows(0, kN, have).ok());
  EXPECT_EQ(have.codes, channels.rows.codes);
  EXPECT_EQ(have.scales, channels.rows.scales);
  for (size_t i = 0; i < have.mins.size(); ++i) {  // exact, though the file rounds the product to F16
    EXPECT_EQ(have.mins[i], -static_cast<float>(channels.rows.zeros2[i]) * have.scales[i]);
  }
  Example int8(Form::kInt8);
  source = int8.Open();
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ((*source)->spec().bits, 8);
  ASSERT_TRUE((*source)->ReadRows(0, kN, have).ok());
  EXPECT_EQ(have.codes, int8.rows.codes);
  EXPECT_EQ(have.scales, int8.rows.scales);
}

// u * scale + zero in int8, whatever the zero is.
TEST(OmniserveFormTest, ZerosBetweenStepsRunAsInt8) {
  WeightRows rows = RandomRows(Form::kGroups, kN);
  std::fill(rows.scales2.begin(), rows.scales2.end(), uint8_t{8});
  std::fill(rows.zeros2.begin(), rows.zeros2.end(), uint8_t{0});
  Example example(Form::kGroups, rows);
  example.folder.Add("a.s2_zeros", DType::kI8, Shape{kGroups, kN}, std::vector<int8_t>(kGroups * kN, -61));
  const auto source = example.Open();
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ((*source)->spec().bits, 8);
  EXPECT_THAT((*source)->info().note, HasSubstr("int8 per channel"));
  WeightRows have;
  ASSERT_TRUE((*source)->ReadRows(0, kN, have).ok());
  for (size_t i = 0; i < have.codes.size(); ++i) {
    ASSERT_EQ(static_cast<int8_t>(have.codes[i]), rows.codes[i] * 8 - 61) << i;
  }
}

TEST(OmniserveFormTest, PlainModulesStayPlain) {
  Example example(Form::kGroups);
  example.folder.AddBf16("lm_head.weight", Shape{2, 3}, {1, 2, 3, 4, 5, 6});
  const auto loader = LinearLoader::Create(example.folder.Open());
  ASSERT_TRUE(loader.ok());
  const auto source = loader->OpenLinear("lm_head");
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ((*source)->info().scheme, "dense");
}

TEST(OmniserveFormTest, ErrorsNameTheTensorFoundAndWanted) {
  struct Case {
    Form form;
    const char* tensor;
    DType dtype;
    Shape shape;
    const char* words;
  };
  const std::vector<Case> cases = {
      {Form::kGroups, "a.qweight", DType::kI8, Shape{kN * kK / 2}, "a.qweight': shape [12288], want [out, in / 2]"},
      {Form::kGroups, "a.qweight", DType::kI8, Shape{80, 128}, "a.qweight': shape [80, 128], want"},
      {Form::kGroups, "a.qweight", DType::kI8, Shape{kN, 120}, "a.qweight': shape [96, 120], want"},
      {Form::kGroups, "a.qweight", DType::kI8, Shape{0, 128}, "a.qweight': shape [0, 128], want"},
      {Form::kGroups, "a.qweight", DType::kU8, Shape{kN, 128}, "a.qweight': type U8, want I8"},
      {Form::kGroups, "a.s1_scales", DType::kF16, Shape{kN, 1}, "a.s1_scales': shape [96, 1], want [96]"},
      {Form::kGroups, "a.s2_scales", DType::kI8, Shape{kGroups, 64}, "a.s2_scales': shape [2, 64], want"},
      {Form::kGroups, "a.s2_scales", DType::kI8, Shape{3, kN}, "a.s2_scales': shape [3, 96], want"},
      {Form::kGroups, "a.s2_scales", DType::kI8, Shape{0, kN}, "a.s2_scales': shape [0, 96], want"},
      {Form::kGroups, "a.s2_zeros", DType::kI8, Shape{1, kN}, "a.s2_zeros': shape [1, 96], want [2, 96]"},
      {Form::kChannels, "a.s1_szeros", DType::kF16, Shape{kN - 1}, "a.s1_szeros': shape [95], want [96]"},
      {Form::kInt8, "a.weight", DType::kI8, Shape{kN}, "a.weight': shape [96], want a matrix"},
      {Form::kInt8, "a.dequant_scale", DType::kF16, Shape{4}, "a.dequant_scale': shape [4], want [96]"},
      {Form::kInt8, "a.dequant_scale", DType::kI8, Shape{kN}, "a.dequant_scale': type I8, want F16"},
  };
  for (const Case& c : cases) {
    Example example(c.form);
    const auto bytes = *BytesOf(c.dtype, static_cast<uint64_t>(c.shape.NumElements()));
    example.folder.Add(c.tensor, c.dtype, c.shape, std::vector<uint8_t>(bytes, 1));
    const auto source = example.Open();
    ASSERT_FALSE(source.ok()) << c.words;
    EXPECT_THAT(source.status().message(), HasSubstr(c.words));
  }
  Example missing(Form::kGroups);
  missing.folder.Remove("a.s2_zeros");
  EXPECT_THAT(missing.ReadError(), HasSubstr("no tensor 'a.s2_zeros'"));
}

TEST(OmniserveFormTest, ValuesOutOfRangeAreNamed) {
  Example example(Form::kGroups);
  std::vector<int8_t> scales(kGroups * kN, 4), zeros(kGroups * kN, -32);
  scales[97] = 0;
  example.folder.Add("a.s2_scales", DType::kI8, Shape{kGroups, kN}, scales);
  EXPECT_THAT(example.ReadError(), HasSubstr("'a.s2_scales': row 1 column 1 is 0, want 1 to 127"));
  // Row 8 is column 1: code 15 times 18 leaves the byte.
  scales[97] = 18;
  zeros[97] = -36;
  example.folder.Add("a.s2_scales", DType::kI8, Shape{kGroups, kN}, scales);
  example.folder.Add("a.s2_zeros", DType::kI8, Shape{kGroups, kN}, zeros);
  EXPECT_THAT(example.ReadError(), HasSubstr("'a.s2_scales': row 1 column 1 is 18 with zero -36 and codes 0 to 15"));
  // 15 steps of 16 from -16 on leave int8.
  scales[97] = 16;
  zeros[97] = -16;
  example.folder.Add("a.s2_scales", DType::kI8, Shape{kGroups, kN}, scales);
  example.folder.Add("a.s2_zeros", DType::kI8, Shape{kGroups, kN}, zeros);
  EXPECT_THAT(example.ReadError(), HasSubstr("row 1 column 1 is 16 with zero -16"));

  Example channels(Form::kChannels);
  std::vector<uint16_t> halves(kN, F32ToF16(0.25f)), products(kN, F32ToF16(1.0f));
  products[9] = F32ToF16(0.375f);
  channels.folder.Add("a.s1_scales", DType::kF16, Shape{kN}, halves);
  channels.folder.Add("a.s1_szeros", DType::kF16, Shape{kN}, products);
  EXPECT_THAT(channels.ReadError(), HasSubstr("'a.s1_szeros': row 9 column 0 is 0.375: no multiple"));
  products[9] = F32ToF16(4.0f);  // z = 16
  channels.folder.Add("a.s1_szeros", DType::kF16, Shape{kN}, products);
  EXPECT_THAT(channels.ReadError(), HasSubstr("is 4: no multiple of its scale 0.25 from 0 to 15"));
  halves[3] = 0x7c00;
  channels.folder.Add("a.s1_scales", DType::kF16, Shape{kN}, halves);
  EXPECT_THAT(channels.ReadError(), HasSubstr("'a.s1_scales': row 3 column 0 is inf"));
}

TEST(OmniserveFormTest, TheEncoderRefusesWhatTheFormCannotSay) {
  const auto shape_error = [](const OmniserveTarget& target) { return OmniserveTensors(target).status().message(); };
  EXPECT_THAT(shape_error({Form::kGroups, "a", 48, kK, 128}), HasSubstr("a: shape [48, 256] is no multiple of 32"));
  EXPECT_THAT(shape_error({Form::kChannels, "a", kN, 88, 0}), HasSubstr("[96, 88]"));
  EXPECT_THAT(shape_error({Form::kGroups, "a", kN, kK, 64}), HasSubstr("groups of 64; omniserve's kernels know"));
  EXPECT_THAT(shape_error({Form::kGroups, "a", kN, 192, 128}), HasSubstr("192 columns"));
  EXPECT_EQ(shape_error({Form::kInt8, "a", 5, 7, 0}), "");
  const auto error = [](Form form, const auto& change) {
    OmniserveEncoder encoder({form, "a", kN, kK, 128});
    WeightRows rows = RandomRows(form, 32);
    change(rows);
    return encoder.AddRows(32, rows).message();
  };
  EXPECT_THAT(error(Form::kInt8, [](WeightRows& r) { r.scales[4] = 0.1f; }),
              HasSubstr("a: row 36: scale 0.1 is no half float"));
  EXPECT_THAT(error(Form::kChannels, [](WeightRows& r) { r.scales[0] = 32768; r.zeros2[0] = 9; }),
              HasSubstr("a: row 32: zero 294912 is beyond half floats"));
  EXPECT_THAT(error(Form::kGroups, [](WeightRows& r) { r.scales2[3] = 18; }), HasSubstr("a: row 33 group 1: code 15"));
  EXPECT_THAT(error(Form::kGroups, [](WeightRows& r) { r.scales2[0] = 0; }), HasSubstr("with scale 0"));
}

}  // namespace
}  // namespace octavo
