// SPDX-License-Identifier: Apache-2.0
// Reading whole files and writing them atomically.
#include "base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>

namespace octavo {
namespace {

using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  FileTest() : folder_(::testing::TempDir() + "/octavo_file_test_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~FileTest() override { std::filesystem::remove_all(folder_); }

  const std::string folder_;
};

TEST_F(FileTest, WrittenFileReadsBackAndLeavesNoTemporary) {
  const std::string path = folder_ + "/a";
  const std::string content("text\0with NUL", 13);
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  ASSERT_TRUE(WriteFileAtomically(path, content).ok());
  const auto read = ReadFile(path);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, content);
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) ++files;
  EXPECT_EQ(files, 1u);
}

TEST_F(FileTest, ErrorsNameThePath) {
  EXPECT_EQ(ReadFile(folder_ + "/missing").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(ReadFile(folder_ + "/missing").status().message(), HasSubstr(folder_ + "/missing"));
  EXPECT_EQ(ReadFile(folder_).status().code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(WriteFileAtomically(folder_ + "/no/such/folder", "x").ok());
}

TEST_F(FileTest, LimitIsInclusive) {
  const std::string path = folder_ + "/b";
  ASSERT_TRUE(WriteFileAtomically(path, "12345").ok());
  EXPECT_TRUE(ReadFile(path, 5).ok());
  EXPECT_EQ(ReadFile(path, 4).status().code(), StatusCode::kResourceExhausted);
}

TEST_F(FileTest, PipeIsWrittenAndStaysAPipe) {
  const std::string path = folder_ + "/pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  Result<std::string> read = Internal("not read");
  std::thread reader([&] { read = ReadFile(path); });
  EXPECT_TRUE(WriteFileAtomically(path, "through the pipe").ok());
  reader.join();
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, "through the pipe");
  EXPECT_TRUE(std::filesystem::is_fifo(path));
}

}  // namespace
}  // namespace octavo
