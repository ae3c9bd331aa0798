// SPDX-License-Identifier: Apache-2.0
#include "schemes/module_folder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemes/module_matcher.h"

namespace octavo {
namespace {

using testing::ElementsAre;

std::vector<std::string> Names(const std::string& format, std::initializer_list<int> numbers) {
  std::vector<std::string> names;
  for (const int number : numbers) names.push_back(fmt::format(fmt::runtime(format), number));
  return names;
}

TEST(ModuleFolderTest, FoldsNumbersWhereAllSuchNamesAreInTheSet) {
  const ModuleFolder folder({Names("m.layers.{}.up", {0, 1, 12}), Names("m.layers.{}.down", {0, 1, 12})});
  EXPECT_THAT(folder.Patterns(0), ElementsAre("re:m\\.layers\\.\\d+\\.up$"));
  EXPECT_THAT(folder.Patterns(1), ElementsAre("re:m\\.layers\\.\\d+\\.down$"));
}

TEST(ModuleFolderTest, KeepsNamesWhereSetsShareAShape) {
  const ModuleFolder folder({Names("m.layers.{}.up", {0, 2}), Names("m.layers.{}.up", {1})});
  EXPECT_THAT(folder.Patterns(0), ElementsAre("m.layers.0.up", "m.layers.2.up"));
  EXPECT_THAT(folder.Patterns(1), ElementsAre("m.layers.1.up"));
}

TEST(ModuleFolderTest, FoldsTheExpertsOfALayer) {
  const ModuleFolder folder({Names("layers.0.experts.{}.w1", {0, 1, 2}), Names("layers.1.experts.{}.w1", {0, 1, 2})});
  EXPECT_THAT(folder.Patterns(0), ElementsAre("re:layers\\.0\\.experts\\.\\d+\\.w1$"));
  EXPECT_THAT(folder.Patterns(1), ElementsAre("re:layers\\.1\\.experts\\.\\d+\\.w1$"));
}

// Every name is matched by its own set's patterns only, whatever the names.
TEST(ModuleFolderTest, PatternsTellTheSetsApart) {
  const std::vector<std::vector<std::string>> sets = {
      {"a.0.b.0.c", "a.0.b.1.c", "a.1.b.0.c", "x", "odd[3].name-2", "7"},
      {"a.1.b.1.c", "a.0.b.0.d", "a.1.b.7.d", "odd.3.name-2", "x.0"},
      {"a.0.b", "a.10.b", "a.0.b.0", "a.10.b.0.c"}};
  const ModuleFolder folder(sets);
  for (size_t set = 0; set < sets.size(); ++set) {
    auto matcher = ModuleMatcher::Compile(folder.Patterns(set));
    ASSERT_TRUE(matcher.ok()) << matcher.status().ToString();
    for (size_t other = 0; other < sets.size(); ++other) {
      for (const std::string& name : sets[other]) {
        auto match = matcher->Find(name, "Linear");
        ASSERT_TRUE(match.ok());
        EXPECT_EQ(*match != ModuleMatcher::Match::kNone, set == other) << name << " in set " << set;
      }
    }
  }
}

}  // namespace
}  // namespace octavo
