// SPDX-License-Identifier: Apache-2.0
#include "hub/hub_listing.h"

#include <gtest/gtest.h>

#include "hub/http_client.h"

namespace octavo::hub {
namespace {

const std::string kSha1(40, 'a');
const std::string kSha256(64, 'b');

TEST(HubListingTest, TakesSizeAndHashFromLfsWhereThereIsOne) {
  std::vector<RepoFile> files;
  const Status status = ParseTreePage(R"([{"type":"directory","oid":"x","size":0,"path":"sub"},)"
                                      R"({"type":"file","oid":")" +
                                          kSha1 +
                                          R"(","size":5,"path":"sub/a.json"},)"
                                          R"({"type":"file","oid":")" +
                                          kSha1 + R"(","size":134,"path":"w","lfs":{"oid":")" +
                                          kSha256 + R"(","size":700,"pointerSize":134}}])",
                                      files);
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].path, "sub/a.json");
  EXPECT_EQ(files[0].hash, kSha1);
  EXPECT_FALSE(files[0].large);
  EXPECT_EQ(files[1].size, 700u);
  EXPECT_EQ(files[1].hash, kSha256);
  EXPECT_TRUE(files[1].large);
}

TEST(HubListingTest, WantsACommit) {
  EXPECT_EQ(*ParseCommit(R"({"sha":")" + kSha1 + "\"}"), kSha1);
  for (const char* text :
       {"", "[]", "{}", R"({"sha":1})", R"({"sha":"main"})", R"({"sha":"../x"})"}) {
    EXPECT_EQ(ParseCommit(text).status().code(), StatusCode::kDataLoss) << text;
  }
}

TEST(HubListingTest, FindsTheNextPage) {
  EXPECT_EQ(NextPage(R"(<https://h/a?cursor=1>; rel="next")"), "https://h/a?cursor=1");
  EXPECT_EQ(NextPage(R"(<https://h/0>; rel="prev", <https://h/2>; rel="next")"), "https://h/2");
  for (const char* text : {"", "<", "<>", "x", "<https://h/0>; rel=\"prev\"", ">; rel=\"next\"<"}) {
    EXPECT_EQ(NextPage(text), "") << text;
  }
}

TEST(HttpClientTest, EscapesPaths) {
  EXPECT_EQ(EscapeUrl("refs/pr/1"), "refs%2Fpr%2F1");
  EXPECT_EQ(EscapeUrl("a b/\xC3\xA4#?.json", "/"), "a%20b/%C3%A4%23%3F.json");
}

TEST(HttpClientTest, RepeatsWhatMayPassAndNothingElse) {
  int calls = 0;
  EXPECT_FALSE(
      WithRetries(nullptr, [&] { return ++calls, Attempt{.status = IoError("no")}; }).ok());
  EXPECT_EQ(calls, 1);
  calls = 0;
  EXPECT_TRUE(WithRetries(nullptr, [&] {
                return ++calls == 2 ? Attempt{}
                                    : Attempt{.status = IoError("busy"), .retryable = true};
              }).ok());
  EXPECT_EQ(calls, 2);
  const std::atomic<bool> cancel = true;
  EXPECT_EQ(
      WithRetries(&cancel, [] { return Attempt{.status = IoError("busy"), .retryable = true}; })
          .code(),
      StatusCode::kCancelled);
}

}  // namespace
}  // namespace octavo::hub
