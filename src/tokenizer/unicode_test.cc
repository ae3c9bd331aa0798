// SPDX-License-Identifier: Apache-2.0
// UTF-8 repair and normalization.
#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "tokenizer/byte_map.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

TEST(Utf8Test, ReplacesMaximalSubparts) {
  // What bytes.decode("utf-8", errors="replace") gives.
  EXPECT_EQ(ReplaceInvalidUtf8("a\xC0\xAF z"), "a\uFFFD\uFFFD z");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98"), "\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82 \xE2"), "\uFFFD \uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("plain ascii and ünïcödé 😀"), "plain ascii and ünïcödé 😀");
}

TEST(Utf8Test, RoundTripsEveryCharacter) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(code, &text);
    const Utf8Char c = DecodeUtf8(text, 0);
    ASSERT_TRUE(c.valid);
    ASSERT_EQ(c.code, code);
    ASSERT_EQ(c.length, text.size());
    ASSERT_EQ(DecodeUtf8Before(text, text.size()).code, code);
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(IncompleteUtf8Suffix(text.substr(0, cut)), cut);
    }
    ASSERT_EQ(IncompleteUtf8Suffix(text), 0u);
  }
}

TEST(Utf8Test, InvalidSuffixIsNotIncomplete) {
  EXPECT_EQ(IncompleteUtf8Suffix("a\xFF"), 0u);
  EXPECT_EQ(IncompleteUtf8Suffix("a\xE0\x80"), 0u);
  EXPECT_EQ(IncompleteUtf8Suffix("a\x80\x80"), 0u);
  EXPECT_EQ(IncompleteUtf8Suffix("a\xF0\x9F"), 2u);
}

TEST(UnicodeTest, NormalizesForms) {
  using Form = NormalizationForm;
  EXPECT_EQ(Normalize("e\u0301", Form::kNfc), "é");
  EXPECT_EQ(Normalize("é", Form::kNfd), "e\u0301");
  EXPECT_EQ(Normalize("ﬁ①", Form::kNfkc), "fi1");
  EXPECT_EQ(Normalize("ﬁ①", Form::kNfc), "ﬁ①");
  EXPECT_EQ(Normalize("가", Form::kNfd), "\u1100\u1161");
  EXPECT_EQ(Normalize("\u1100\u1161", Form::kNfc), "가");
  EXPECT_EQ(Normalize("a\u0315\u0300", Form::kNfc), "à\u0315");  // marks are ordered first
  EXPECT_EQ(Normalize("\u212B", Form::kNfc), "Å");
  EXPECT_EQ(Normalize("\u0958", Form::kNfc), "\u0915\u093C");  // a composition exclusion
}

// Sorting the marks by insertion would take hours here.
TEST(UnicodeTest, NormalizesLongMarkRunsInBoundedTime) {
  std::string text = "a";
  for (int i = 0; i < 500'000; ++i) text += "\u0315\u0300";
  const std::string normal = Normalize(text, NormalizationForm::kNfd);
  EXPECT_EQ(normal.size(), text.size());
  EXPECT_EQ(normal.substr(0, 5), "a\u0300\u0300");
}

TEST(UnicodeTest, MapsCaseAndStrips) {
  EXPECT_EQ(LowerCase("ÀİΣ"), "ài\u0307σ");
  EXPECT_EQ(StripSpace("\u3000 a \u00a0\n", true, true), "a");
  EXPECT_EQ(StripSpace(" a ", false, true), " a");
  EXPECT_TRUE(IsUnicodePunctuation(U'。'));
  EXPECT_FALSE(IsUnicodePunctuation(U'a'));
  EXPECT_TRUE(IsUnicodeNumeric(U'Ⅷ'));
}

TEST(ByteMapTest, MapsAllBytesBothWays) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    std::string back;
    AppendUnmappedBytes(MapBytes(one), &back);
    EXPECT_EQ(back, one);
  }
  EXPECT_EQ(MapBytes(" \n"), "ĠĊ");
  std::string outside;
  AppendUnmappedBytes("Ġ世", &outside);
  EXPECT_EQ(outside, "Ġ世");
}

}  // namespace
}  // namespace octavo
