// SPDX-License-Identifier: Apache-2.0
// The hand-written splitters against Oniguruma, character by character and on random text.
#include "tokenizer/fast_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr KnownPattern kPatterns[] = {KnownPattern::kGpt2, KnownPattern::kLlama3,
                                      KnownPattern::kQwen2};

void ExpectSameSplits(KnownPattern pattern, const Regex& regex, const std::string& text) {
  std::vector<Range> fast;
  SplitByKnownPattern(pattern, text, &fast);
  std::vector<Range> want;
  ASSERT_TRUE(regex.ForEachMatch(text, [&](Range range) { want.push_back(range); }).ok());
  ASSERT_EQ(fast.size(), want.size()) << "'" << text << "'";
  for (size_t i = 0; i < fast.size(); ++i) {
    ASSERT_EQ(fast[i].begin, want[i].begin) << "'" << text << "'";
    ASSERT_EQ(fast[i].end, want[i].end) << "'" << text << "'";
  }
}

TEST(FastSplitTest, EqualsOnigurumaOnRandomText) {
  const std::u32string alphabet =
      U"aZé世ßſ'strelvmd SDTRLVM09٣½Ⅷ,.!?-_ \n\r\t\u00a0\u2028\u3000\u0301😀\u200d_\u0085\v\fΑя";
  std::mt19937 rng(1);
  for (const KnownPattern pattern : kPatterns) {
    const auto regex = Regex::Compile(RegexOf(pattern));
    ASSERT_TRUE(regex.ok());
    for (int round = 0; round < 4000; ++round) {
      std::string text;
      for (size_t length = rng() % 24; length > 0; --length) {
        AppendUtf8(alphabet[rng() % alphabet.size()], &text);
      }
      ExpectSameSplits(pattern, **regex, text);
    }
  }
}

// Characters whose class the engine does not know yet: those of a newer Unicode than its own.
std::vector<bool> CodesNewerThanEngine() {
  const auto engine = Regex::Compile("[\\p{L}\\p{N}]");
  EXPECT_TRUE(engine.ok());
  std::vector<bool> newer(0x110000);
  for (char32_t code = 1; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(code, &text);
    bool matched = false;
    EXPECT_TRUE((*engine)->ForEachMatch(text, [&](Range) { matched = true; }).ok());
    const bool ours = (CharClassTable()[code] & (kClassLetter | kClassNumber)) != 0;
    EXPECT_TRUE(ours || !matched) << static_cast<uint32_t>(code);
    newer[code] = ours && !matched;
  }
  return newer;
}

TEST(FastSplitTest, EqualsOnigurumaOnEveryCharacter) {
  const std::vector<bool> newer = CodesNewerThanEngine();
  EXPECT_LT(std::count(newer.begin(), newer.end(), true), 10'000);
  for (const KnownPattern pattern : kPatterns) {
    const auto regex = Regex::Compile(RegexOf(pattern));
    ASSERT_TRUE(regex.ok());
    std::string text;
    for (char32_t code = 1; code <= 0x10FFFF; ++code) {
      if ((code >= 0xD800 && code <= 0xDFFF) || newer[code]) continue;
      AppendUtf8(code, &text);
      text += code % 3 == 0 ? "a" : code % 3 == 1 ? " " : "'S1";
      if (text.size() < 4096 && code != 0x10FFFF) continue;
      ExpectSameSplits(pattern, **regex, text);
      text.clear();
    }
  }
}

TEST(FastSplitTest, KnowsUnicode16) {
  std::vector<Range> ranges;
  SplitByKnownPattern(KnownPattern::kLlama3, "a\U0001CCF01 \U000323AFb", &ranges);
  ASSERT_EQ(ranges.size(), 3u);  // letter, two numbers, space and two letters
  EXPECT_EQ(ranges[1].end - ranges[1].begin, 5u);
}

TEST(FastSplitTest, FindsKnownPatternsBySpelling) {
  for (const KnownPattern pattern : kPatterns) {
    EXPECT_EQ(FindKnownPattern(RegexOf(pattern)), pattern);
  }
  EXPECT_FALSE(FindKnownPattern("\\w+").has_value());
}

TEST(RegexTest, ReportsBadPatternsAndLimits) {
  EXPECT_FALSE(Regex::Compile("(unclosed").ok());
  EXPECT_FALSE(Regex::Compile(std::string(100'000, 'a')).ok());
  const auto explosive = Regex::Compile("(x+x+)+y");
  ASSERT_TRUE(explosive.ok());
  EXPECT_FALSE((*explosive)->ForEachMatch(std::string(60, 'x'), [](Range) {}).ok());
}

}  // namespace
}  // namespace octavo
