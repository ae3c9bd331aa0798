// SPDX-License-Identifier: Apache-2.0
// Temporary files without a name.
#include "base/scratch_file.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <utility>

namespace octavo {
namespace {

TEST(ScratchFileTest, ReadsBackWhatWasWrittenAndLeavesNoName) {
  const std::string folder = ::testing::TempDir() + "/scratch_file_test";
  std::filesystem::create_directories(folder);
  auto created = ScratchFile::Create(folder);
  ASSERT_TRUE(created.ok()) << created.status().ToString();
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  ScratchFile file = std::move(*created);
  const std::array<int, 3> in = {1, 2, 3};
  ASSERT_TRUE(file.Write(8, in.data(), sizeof(in)).ok());
  std::array<int, 5> out{};
  ASSERT_TRUE(file.Read(0, sizeof(out), out.data()).ok());
  EXPECT_EQ(out, (std::array<int, 5>{0, 0, 1, 2, 3}));
  EXPECT_EQ(file.Read(12, 12, out.data()).code(), StatusCode::kDataLoss);
  std::filesystem::remove(folder);
}

TEST(ScratchFileTest, SaysWhereItCannotBe) {
  const auto file = ScratchFile::Create("/nosuchfolder");
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.status().message().find("/nosuchfolder"), std::string::npos);
}

TEST(ScratchFileTest, AFullDiskIsAnErrorThatNamesIt) {
  auto file = ScratchFile::Create();
  ASSERT_TRUE(file.ok());
  const char byte = 0;
  // No file system stores a file of 2^62 bytes.
  const Status status = file->Write(uint64_t{1} << 62, &byte, 1);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("scratch file"), std::string::npos);
}

}  // namespace
}  // namespace octavo
