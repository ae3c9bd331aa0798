// SPDX-License-Identifier: Apache-2.0
// Published digests, of texts and of a file.
#include "base/digest.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace octavo {
namespace {

// FIPS 180-2, appendices A.1 and B.1.
constexpr const char* kSha1OfAbc = "a9993e364706816aba3e25717850c26c9cd0d89d";
constexpr const char* kSha256OfAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(DigestTest, MatchesPublishedVectors) {
  EXPECT_EQ(Sha256("abc").value(), kSha256OfAbc);
  auto digest = Digest::Create(Digest::Kind::kSha1);
  ASSERT_TRUE(digest.ok());
  ASSERT_TRUE(digest->Add("a", 1).ok());
  ASSERT_TRUE(digest->Add("bc", 2).ok());
  EXPECT_EQ(digest->Hex().value(), kSha1OfAbc);
}

TEST(DigestTest, ReadsFiles) {
  const std::string path = ::testing::TempDir() + "/digest_test_" + std::to_string(::getpid());
  ASSERT_TRUE(WriteFileAtomically(path, "abc").ok());
  EXPECT_EQ(Sha256OfFile(path).value(), kSha256OfAbc);
  const std::string large((3 << 20) + 5, 'x');  // several blocks
  ASSERT_TRUE(WriteFileAtomically(path, large).ok());
  EXPECT_EQ(Sha256OfFile(path).value(), Sha256(large).value());
  std::filesystem::remove(path);
  EXPECT_EQ(Sha256OfFile(path).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace octavo
