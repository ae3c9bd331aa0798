// SPDX-License-Identifier: Apache-2.0
// Token id lists in every spelling.
#include "cli/token_ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace octavo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(TokenIdsTest, AcceptsCommasSpacesLinesAndBrackets) {
  for (const char* text : {"1,2,30", "1 2 30", " [1, 2, 30]\n", "1\n2\r\n30\n", "1,,2, 30,"}) {
    const auto ids = ParseTokenIds(text);
    ASSERT_TRUE(ids.ok()) << text << ids.status().message();
    EXPECT_THAT(*ids, ElementsAre(1, 2, 30)) << text;
  }
  EXPECT_THAT(*ParseTokenIds(" \n"), IsEmpty());
  EXPECT_THAT(*ParseTokenIds("[]"), IsEmpty());
}

TEST(TokenIdsTest, RefusesWhatIsNoId) {
  for (const char* text : {"1,x", "-1", "1.5", "2147483648", "[1", "1]", "0x10"}) {
    const auto ids = ParseTokenIds(text);
    ASSERT_FALSE(ids.ok()) << text;
    EXPECT_THAT(ids.status().message(), HasSubstr("no token id"));
  }
}

}  // namespace
}  // namespace octavo
