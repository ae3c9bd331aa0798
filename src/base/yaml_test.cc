// SPDX-License-Identifier: Apache-2.0
#include "base/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace octavo {
namespace {

using testing::HasSubstr;

std::string Refusal(const std::string& text, const YamlLimits& limits = {}) {
  const auto node = ParseYaml(text, limits);
  EXPECT_FALSE(node.ok()) << text;
  return node.ok() ? "" : node.status().message();
}

constexpr const char* kDocument = R"(# a comment
stage:
  list: [1, "2", -3.5, true, null, ~, 're:.*x', 1e-2]
  block:
    - first
    - key: value
      other: no
  text: |
    two
    lines
  empty:
)";

TEST(YamlTest, ReadsTheCoreSchemaWithLines) {
  const auto node = ParseYaml(kDocument);
  ASSERT_TRUE(node.ok()) << node.status().ToString();
  EXPECT_EQ(ToJson(*node), Json::parse(R"({"stage":{"list":[1,"2",-3.5,true,null,null,"re:.*x",0.01],
    "block":["first",{"key":"value","other":"no"}],"text":"two\nlines\n","empty":null}})"));
  const YamlNode* stage = node->Find("stage");
  ASSERT_NE(stage, nullptr);
  EXPECT_EQ(stage->Find("list")->line, 3);
  EXPECT_EQ(stage->Find("block")->items[1].Find("other")->line, 7);
  EXPECT_EQ(stage->Find("empty"), nullptr);
  EXPECT_EQ(stage->Find("absent"), nullptr);
  EXPECT_EQ(Describe(*stage), "a map");
}

TEST(YamlTest, ReadsJsonToo) {
  const auto node = ParseYaml(R"({"a": {"b": [1, 2, {"c": "x"}]}, "d": false})");
  ASSERT_TRUE(node.ok()) << node.status().ToString();
  EXPECT_EQ(ToJson(*node), Json::parse(R"({"a":{"b":[1,2,{"c":"x"}]},"d":false})"));
}

TEST(YamlTest, TellsNumbersFromNames) {
  const auto node = ParseYaml("[0x10, 1.2.3, -, e, '7', 12abc, +4, 99999999999999999999, .5, 1_000]");
  ASSERT_TRUE(node.ok()) << node.status().ToString();
  EXPECT_EQ(ToJson(*node), Json({"0x10", "1.2.3", "-", "e", "7", "12abc", 4, 1e20, 0.5, "1_000"}));
}

TEST(YamlTest, RefusesWhatItDoesNotRead) {
  EXPECT_THAT(Refusal("a: 1\nb: &x [1]\nc: *x\n"), HasSubstr("line 2: anchors"));
  EXPECT_THAT(Refusal("a: *x\n"), HasSubstr("line 1"));
  EXPECT_THAT(Refusal("a: !!python/object:os.system x\n"), HasSubstr("line 1: tags"));
  EXPECT_THAT(Refusal("a: 1\nb: 2\na: 3\n"), HasSubstr("line 3: 'a' is given twice, first in line 1"));
  EXPECT_THAT(Refusal("? [a, b]\n: c\n"), HasSubstr("line 1: a key that is a list"));
  EXPECT_THAT(Refusal("a: 1\n---\nb: 2\n"), HasSubstr("second document"));
  EXPECT_THAT(Refusal(""), HasSubstr("empty"));
  EXPECT_THAT(Refusal("a:\n\t- b\n"), HasSubstr("line 2"));
  EXPECT_THAT(Refusal("a: [1, 2\nb: 3\n"), HasSubstr("line"));
  EXPECT_THAT(Refusal(std::string("a: \0b", 5)), HasSubstr("NUL"));
}

TEST(YamlTest, HoldsItsLimits) {
  std::string dashes;
  for (int i = 0; i < 100; ++i) dashes += "- ";
  EXPECT_THAT(Refusal(dashes + "x"), HasSubstr("deeper than 24 levels"));
  EXPECT_THAT(Refusal(std::string(5000, '[')), HasSubstr("line 1"));
  EXPECT_THAT(Refusal(std::string(200'000, '{')), HasSubstr("line 1"));
  std::string nested;
  for (int i = 0; i < 4000; ++i) nested += std::string(static_cast<size_t>(i % 60), ' ') + "- \n";
  (void)ParseYaml(nested);  // whatever it is, it ends
  EXPECT_THAT(Refusal(std::string(300 << 10, '#')), HasSubstr("limit"));
  EXPECT_THAT(Refusal("[1, 2, 3]", {.max_nodes = 3}), HasSubstr("more than 3 values"));
  // The classic alias bomb stops at its first anchor.
  EXPECT_THAT(Refusal("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"), HasSubstr("anchors"));
}

// Damaged documents are values or errors, never crashes.
TEST(YamlTest, SurvivesDamage) {
  std::mt19937 random(5);
  const std::string document = kDocument;
  const std::string alphabet = "{}[]:,-#&*!|>'\"%@`?~ \t\n\r\\0a\x80\xff";
  int parsed = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = document;
    const size_t changes = 1 + random() % 6;
    for (size_t i = 0; i < changes; ++i) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = alphabet[random() % alphabet.size()]; break;
        case 1: text.insert(at, 1, alphabet[random() % alphabet.size()]); break;
        default: text.erase(at, 1 + random() % 8); break;
      }
    }
    const auto node = ParseYaml(text);
    if (node.ok()) {
      ++parsed;
      (void)DumpJson(ToJson(*node));
    } else {
      EXPECT_FALSE(node.status().message().empty());
    }
  }
  EXPECT_GT(parsed, 100);
  EXPECT_LT(parsed, 2900);
}

}  // namespace
}  // namespace octavo
