// SPDX-License-Identifier: Apache-2.0
// The safetensors header, rule by rule, and a file of the format's own library.
#include "io/safetensors_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "io/io_test_util.h"

namespace octavo {
namespace {

using ::testing::HasSubstr;
using testing::SafetensorsFile;

std::string ErrorOf(const std::string& file) {
  const auto reader = SafetensorsReader::FromFile(MmapFile::FromMemory("m.safetensors", file));
  return reader.ok() ? "OK" : reader.status().message();
}

// The error for a header over `data_bytes` bytes of data.
std::string HeaderError(const std::string& header, size_t data_bytes = 0) {
  return ErrorOf(SafetensorsFile(header, std::string(data_bytes, '\0')));
}

std::string Entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

TEST(SafetensorsReaderTest, ReadsTheLibrarysFile) {
  const auto reader =
      SafetensorsReader::Open(OCTAVO_SOURCE_DIR "/tests/golden/io/dtypes.safetensors");
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  EXPECT_EQ(reader->tensors().size(), 17u);
  EXPECT_THAT(reader->metadata(), ::testing::Contains(::testing::Pair("note", "caf\u00e9")));
  const SafetensorsEntry* f64 = reader->Find("float64");
  ASSERT_NE(f64, nullptr);
  EXPECT_EQ(reader->View(*f64).As<double>()[0], -8.0);
  EXPECT_EQ(reader->View(*reader->Find("int8")).As<int8_t>()[15], 7);
  EXPECT_EQ(reader->View(*reader->Find("bfloat16")).As<uint16_t>()[0], 0xc100);
  EXPECT_EQ(reader->View(*reader->Find("float8_e4m3fn")).As<uint8_t>()[0], 0xd0);
  EXPECT_EQ(reader->Find("scalar")->shape.rank(), 0);
  EXPECT_EQ(reader->Find("empty")->shape, (Shape{0, 3}));
  EXPECT_EQ(reader->Find("absent"), nullptr);
}

TEST(SafetensorsReaderTest, AcceptsWhatTheFormatAllows) {
  EXPECT_EQ(HeaderError("{}"), "OK");
  EXPECT_EQ(HeaderError(" {} \n "), "OK");
  EXPECT_EQ(HeaderError(R"({"__metadata__":null})"), "OK");
  EXPECT_EQ(HeaderError(R"({"__metadata__":{"format":"pt"}})"), "OK");
  EXPECT_EQ(HeaderError(Entry("F32", "[]", "[0,4]"), 4), "OK");
  EXPECT_EQ(HeaderError(Entry("F32", "[0,7]", "[0,0]")), "OK");
  EXPECT_EQ(HeaderError(Entry("F4", "[2]", "[0,1]"), 1), "OK");
  EXPECT_EQ(
      HeaderError(
          R"({"t":{"x":[1,{"shape":[2]}],"dtype":"U8","note":null,"shape":[1],"data_offsets":[0,1]}})",
          1),
      "OK");
}

TEST(SafetensorsReaderTest, RefusesBadLengths) {
  EXPECT_THAT(ErrorOf("1234567"), HasSubstr("m.safetensors: 7 bytes, too short"));
  EXPECT_THAT(ErrorOf(SafetensorsFile("{}", "").substr(0, 9)),
              HasSubstr("ends beyond the file of 9"));
  std::string huge = SafetensorsFile("{}", "");
  huge[7] = '\x7f';
  EXPECT_THAT(ErrorOf(huge), HasSubstr("the format allows 100000000"));
}

TEST(SafetensorsReaderTest, RefusesBadJson) {
  EXPECT_THAT(HeaderError(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(HeaderError("{"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(HeaderError("{} {}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(HeaderError("[]"), HasSubstr("header is an array"));
  EXPECT_THAT(HeaderError("5"), HasSubstr("header is a number, want an object"));
  EXPECT_THAT(HeaderError("null"), HasSubstr("header is null"));
  EXPECT_THAT(HeaderError(std::string("{}\0", 3)), HasSubstr("NUL at byte 10"));
  EXPECT_THAT(HeaderError("\xef\xbb\xbf{}"), HasSubstr("byte order mark"));
  EXPECT_THAT(HeaderError("{\"\xff\":1}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(HeaderError("{\"t\":{\"x\":" + std::string(100, '[') + std::string(100, ']') + "}}"),
              HasSubstr("nested deeper"));
}

TEST(SafetensorsReaderTest, RefusesBadEntries) {
  EXPECT_THAT(HeaderError(Entry("f32", "[1]", "[0,4]"), 4),
              HasSubstr("tensor 't': unknown dtype 'f32'"));
  EXPECT_THAT(HeaderError(Entry("F32", "[1.0]", "[0,4]"), 4), HasSubstr("unexpected a fraction"));
  EXPECT_THAT(HeaderError(Entry("F32", "[-1]", "[0,4]"), 4),
              HasSubstr("unexpected a negative number"));
  EXPECT_THAT(HeaderError(Entry("F32", "[[1]]", "[0,4]"), 4), HasSubstr("unexpected an array"));
  EXPECT_THAT(HeaderError(Entry("F32", "1", "[0,4]"), 4), HasSubstr("unexpected a number"));
  EXPECT_THAT(HeaderError(Entry("F32", "[1,1,1,1,1,1,1]", "[0,4]"), 4),
              HasSubstr("too many dimensions"));
  EXPECT_THAT(HeaderError(Entry("F32", "[1]", "[0]"), 4), HasSubstr("wants 2 numbers"));
  EXPECT_THAT(HeaderError(Entry("F32", "[1]", "[0,4,8]"), 4), HasSubstr("more than 2"));
  EXPECT_THAT(HeaderError(Entry("F32", "[1]", "[4,0]"), 4), HasSubstr("end before they begin"));
  EXPECT_THAT(HeaderError(Entry("F32", "[2]", "[0,4]"), 4), HasSubstr("span 4 bytes, want 8"));
  EXPECT_THAT(HeaderError(Entry("F4", "[3]", "[0,2]"), 2), HasSubstr("inside a byte"));
  EXPECT_THAT(HeaderError(Entry("U8", "[4294967296,4294967296]", "[0,0]")), HasSubstr("overflows"));
  EXPECT_THAT(HeaderError(Entry("F64", "[4611686018427387904]", "[0,0]")), HasSubstr("overflows"));
  EXPECT_THAT(HeaderError(R"({"t":5})"), HasSubstr("tensor 't': unexpected a number"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","shape":[]}})"),
              HasSubstr("wants 'dtype', 'shape' and"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":"U8","dtype":"U8"}})"),
              HasSubstr("duplicate key 'dtype'"));
  EXPECT_THAT(HeaderError(R"({"t":{"dtype":{"a":1}}})"), HasSubstr("unexpected an object"));
  EXPECT_THAT(HeaderError(R"({"__metadata__":{"a":1}})"),
              HasSubstr("__metadata__: value is a number"));
  EXPECT_THAT(HeaderError(R"({"__metadata__":{"a":{}}})"), HasSubstr("__metadata__"));
  EXPECT_THAT(HeaderError(R"({"__metadata__":"a"})"), HasSubstr("__metadata__"));
}

std::string TwoTensors(const std::string& a, const std::string& b) {
  return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
         R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
}

TEST(SafetensorsReaderTest, RefusesHolesOverlapsAndRests) {
  EXPECT_EQ(HeaderError(TwoTensors("[4,8]", "[0,4]"), 8), "OK");
  EXPECT_THAT(HeaderError(TwoTensors("[0,4]", "[2,6]"), 6),
              HasSubstr("'b' begins at data byte 2, want 4: tensors overlap"));
  EXPECT_THAT(HeaderError(TwoTensors("[0,4]", "[5,9]"), 9), HasSubstr("there is a hole"));
  EXPECT_THAT(HeaderError(TwoTensors("[1,5]", "[5,9]"), 9), HasSubstr("there is a hole"));
  EXPECT_THAT(HeaderError(TwoTensors("[0,4]", "[4,8]"), 9),
              HasSubstr("end at data byte 8, the file has 9"));
  EXPECT_THAT(HeaderError(TwoTensors("[0,4]", "[4,8]"), 7), HasSubstr("the file has 7"));
  EXPECT_THAT(HeaderError(TwoTensors("[0,4]", "[18446744073709551612,18446744073709551616]"), 8),
              HasSubstr("fraction"));
}

TEST(SafetensorsReaderTest, RefusesDuplicateNames) {
  const std::string entry = R"("t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  EXPECT_THAT(HeaderError("{" + entry + "," + entry + "}"), HasSubstr("duplicate tensor name 't'"));
  EXPECT_THAT(HeaderError(R"({"__metadata__":{"a":"1","a":"2"}})"), HasSubstr("duplicate key 'a'"));
  EXPECT_THAT(HeaderError(R"({"__metadata__":{},"__metadata__":{}})"), HasSubstr("duplicate"));
}

}  // namespace
}  // namespace octavo
