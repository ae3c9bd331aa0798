// SPDX-License-Identifier: Apache-2.0
#include "schemes/module_matcher.h"

#include <gtest/gtest.h>

namespace octavo {
namespace {

using Match = ModuleMatcher::Match;

Match Find(const std::vector<std::string>& patterns, std::string_view module) {
  auto matcher = ModuleMatcher::Compile(patterns);
  EXPECT_TRUE(matcher.ok()) << matcher.status().ToString();
  auto match = matcher->Find(module, "Linear");
  EXPECT_TRUE(match.ok()) << match.status().ToString();
  return match.ok() ? *match : Match::kNone;
}

TEST(ModuleMatcherTest, PrefersNamesThenExpressionsThenClasses) {
  EXPECT_EQ(Find({"Linear"}, "a.b"), Match::kClass);
  EXPECT_EQ(Find({"Linear", "re:a"}, "a.b"), Match::kRegex);
  EXPECT_EQ(Find({"re:a", "a.b", "Linear"}, "a.b"), Match::kName);
  EXPECT_EQ(Find({"Embedding", "a"}, "a.b"), Match::kNone);
}

TEST(ModuleMatcherTest, AnchorsExpressionsAtTheStartOnly) {
  EXPECT_EQ(Find({"re:.*mlp"}, "model.layers.0.mlp.up_proj"), Match::kRegex);
  EXPECT_EQ(Find({"re:mlp"}, "model.layers.0.mlp.up_proj"), Match::kNone);
  EXPECT_EQ(Find({"re:.*down_proj$"}, "model.layers.0.mlp.down_proj"), Match::kRegex);
  EXPECT_EQ(Find({"re:.*down_proj$"}, "model.layers.0.mlp.down_proj.x"), Match::kNone);
  EXPECT_EQ(Find({R"(re:model\.layers\.(1|2)\..*(q|k)_proj)"}, "model.layers.2.attn.k_proj"),
            Match::kRegex);
  EXPECT_EQ(Find({"re:.*(?<!gate)_proj$"}, "a.gate_proj"), Match::kNone);
}

TEST(ModuleMatcherTest, RefusesBrokenAndExplodingExpressions) {
  EXPECT_FALSE(ModuleMatcher::Compile({"re:("}).ok());
  EXPECT_FALSE(ModuleMatcher::Compile({"re:" + std::string(5000, 'a')}).ok());
  auto bomb = ModuleMatcher::Compile({"re:(a+)+(b+)+c$"});
  ASSERT_TRUE(bomb.ok());
  const auto match = bomb->Find(std::string(40, 'a') + std::string(40, 'b'), "Linear");
  EXPECT_EQ(match.status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace octavo
