// SPDX-License-Identifier: Apache-2.0
#include "hub/part_ledger.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "hub/checksum.h"

namespace octavo::hub {
namespace {

namespace fs = std::filesystem;

class PartLedgerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = folder_ / "partial";
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<PartLedger> Open(uint64_t size, uint64_t part_bytes) {
    auto ledger = PartLedger::Open(path_, size, part_bytes);
    EXPECT_TRUE(ledger.ok()) << ledger.status().ToString();
    return ledger.ok() ? std::move(ledger).value() : nullptr;
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(PartLedgerTest, AssemblesPartsInAnyOrder) {
  auto ledger = Open(10, 4);
  ASSERT_EQ(ledger->num_parts(), 3u);
  EXPECT_EQ(ledger->part_size(2), 2u);
  ASSERT_TRUE(ledger->Write(2, "89").ok());
  ASSERT_TRUE(ledger->Write(0, "01").ok());
  ASSERT_TRUE(ledger->Write(1, "4567").ok());
  ASSERT_TRUE(ledger->Write(0, "23").ok());
  ASSERT_TRUE(ledger->Publish(folder_ / "whole").ok());
  EXPECT_EQ(*ReadFile(folder_ / "whole"), "0123456789");
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_FALSE(fs::exists(path_ + ".parts"));
}

TEST_F(PartLedgerTest, GoesOnWhereItStopped) {
  {
    auto ledger = Open(10, 4);
    ASSERT_TRUE(ledger->Write(1, "456").ok());
  }
  auto ledger = Open(10, 4);
  EXPECT_EQ(ledger->total_done(), 3u);
  EXPECT_EQ(ledger->done(1), 3u);
  EXPECT_FALSE(ledger->complete(1));
}

TEST_F(PartLedgerTest, StartsAfreshWhenTheNoteDoesNotFit) {
  const auto leave = [this] {
    auto ledger = Open(10, 4);
    ASSERT_TRUE(ledger->Write(0, "0123").ok());
  };
  leave();
  EXPECT_EQ(Open(11, 4)->total_done(), 0u);  // another size
  leave();
  EXPECT_EQ(Open(10, 5)->total_done(), 0u);  // other parts
  leave();
  std::ofstream(path_ + ".parts", std::ios::app) << "x";
  EXPECT_EQ(Open(10, 4)->total_done(), 0u);  // longer than it can be
  leave();
  fs::resize_file(path_, 2);
  EXPECT_EQ(Open(10, 4)->total_done(), 0u);  // bytes are gone
}

TEST_F(PartLedgerTest, RefusesLinks) {
  fs::create_symlink(folder_ / "elsewhere", path_);
  EXPECT_FALSE(PartLedger::Open(path_, 10, 4).ok());
}

TEST_F(PartLedgerTest, HashesAsGitAndLfsDo) {
  std::ofstream(path_) << "hello\n";
  // `printf 'hello\n' | git hash-object --stdin` and `printf 'hello\n' | sha256sum`.
  EXPECT_EQ(*HashFile(path_, false), "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(*HashFile(path_, true),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  EXPECT_TRUE(VerifyFile(path_, {.path = "x", .hash = *HashFile(path_, false)}).ok());
  EXPECT_EQ(VerifyFile(path_, {.path = "x", .hash = "0"}).code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace octavo::hub
