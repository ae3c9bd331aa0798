// SPDX-License-Identifier: Apache-2.0
#include "hub/hub_name.h"

#include <gtest/gtest.h>

namespace octavo::hub {
namespace {

TEST(HubNameTest, ReadsAllParts) {
  const auto name = ParseHubName("org-1/Model_2.5-0.5B@refs/pr/1:folder/m-Q4_K_M.gguf");
  ASSERT_TRUE(name.ok()) << name.status().ToString();
  EXPECT_EQ(name->repository, "org-1/Model_2.5-0.5B");
  EXPECT_EQ(name->revision, "refs/pr/1");
  EXPECT_EQ(name->file, "folder/m-Q4_K_M.gguf");
  EXPECT_EQ(name->ToString(), "org-1/Model_2.5-0.5B@refs/pr/1:folder/m-Q4_K_M.gguf");
  EXPECT_EQ(ParseHubName("a/b")->ToString(), "a/b");
  EXPECT_EQ(ParseHubName("a/b")->revision, "main");
}

TEST(HubNameTest, RefusesWhatIsNoSafePath) {
  for (const char* text :
       {"",           "a",    "a/",     "/b",     "a/b/c",  "../b",     "a/..",
        ".a/b",       "a/b-", "a--x/b", "a/b..c", "a b/c",  "a/b@",     "a/b@/x",
        "a/b@x/../y", "a/b:", "a/b:/x", "a/b:x/", "a/b:..", "a/b:x\\y", "a/b:x\ny"}) {
    EXPECT_FALSE(ParseHubName(text).ok()) << text;
  }
}

TEST(HubNameTest, MissingFilesAreNoNames) {
  EXPECT_TRUE(LooksLikeHubName("org/model"));
  EXPECT_TRUE(LooksLikeHubName("org/model:x.gguf"));
  EXPECT_FALSE(LooksLikeHubName("out/model.gguf"));
  EXPECT_FALSE(LooksLikeHubName("./model"));
  EXPECT_FALSE(LooksLikeHubName("/models/x"));
  EXPECT_FALSE(LooksLikeHubName("out/model/"));
}

TEST(HubNameTest, KnowsCommits) {
  EXPECT_TRUE(IsCommit(std::string(40, 'a')));
  EXPECT_FALSE(IsCommit(std::string(40, 'A')));
  EXPECT_FALSE(IsCommit(std::string(39, 'a')));
}

}  // namespace
}  // namespace octavo::hub
