// SPDX-License-Identifier: Apache-2.0
// Folders: shards, links, what is refused and why; and reading rows.
#include "io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "io/io_test_util.h"
#include "io/shard_index.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::SafetensorsFile;
using testing::TempFolder;
using testing::WriteText;

// One U8 tensor of 4 bytes.
std::string OneTensorFile(const std::string& name) {
  return SafetensorsFile(R"({")" + name + R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                         "abcd");
}

std::string ErrorOf(const std::string& path) {
  const auto checkpoint = Checkpoint::Open(path);
  return checkpoint.ok() ? "OK" : checkpoint.status().message();
}

// A folder of two shards whose index maps "a" and "b" to the given files.
void WriteSharded(const TempFolder& folder, const std::string& a_file, const std::string& b_file) {
  WriteText(folder / "config.json", "{}");
  WriteText(folder / "one.safetensors", OneTensorFile("a"));
  WriteText(folder / "two.safetensors", OneTensorFile("b"));
  WriteText(folder / "model.safetensors.index.json",
            MakeShardIndexJson({{"a", a_file}, {"b", b_file}}, 8));
}

TEST(CheckpointTest, OpensSingleAndShardedFolders) {
  const TempFolder folder;
  WriteSharded(folder, "one.safetensors", "two.safetensors");
  const auto sharded = Checkpoint::Open(folder.path());
  ASSERT_TRUE(sharded.ok()) << sharded.status().ToString();
  EXPECT_EQ((*sharded)->tensors().size(), 2u);
  EXPECT_EQ((*sharded)->Find("b")->file->path(), folder / "two.safetensors");
  EXPECT_FALSE((*sharded)->is_gguf());
  char bytes[4];
  ASSERT_TRUE((*sharded)->ReadBytes(*(*sharded)->Find("b"), bytes).ok());
  EXPECT_EQ(std::string_view(bytes, 4), "abcd");
  WriteText(folder / "model.safetensors", OneTensorFile("c"));
  EXPECT_NE((*Checkpoint::Open(folder.path()))->Find("c"), nullptr);
}

TEST(CheckpointTest, RefusesShardNamesThatLeaveTheFolder) {
  const TempFolder outside;
  WriteText(outside / "two.safetensors", OneTensorFile("b"));
  for (const std::string& name :
       {std::string("../two.safetensors"), outside / "two.safetensors",
        std::string("sub/two.safetensors"), std::string(".."), std::string(""),
        std::string(300, 'x'), std::string("two\0.safetensors", 16)}) {
    const TempFolder folder;
    WriteSharded(folder, "one.safetensors", name);
    EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("want a plain file name")) << name;
  }
  const TempFolder folder;
  WriteSharded(folder, "one.safetensors", "link.safetensors");
  fs::create_symlink(outside / "two.safetensors", folder / "link.safetensors");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("outside of its folder"));
}

TEST(CheckpointTest, FollowsLinksOfAHubCache) {
  const TempFolder cache;
  fs::create_directories(cache / "blobs");
  fs::create_directories(cache / "snapshots/main");
  WriteText(cache / "blobs/123", OneTensorFile("a"));
  const std::string snapshot = cache / "snapshots/main";
  WriteText(snapshot + "/config.json", "{}");
  WriteText(snapshot + "/model.safetensors.index.json",
            MakeShardIndexJson({{"a", "m.safetensors"}}, 4));
  fs::create_symlink("../../blobs/123", snapshot + "/m.safetensors");
  EXPECT_EQ(ErrorOf(snapshot), "OK");
}

TEST(CheckpointTest, ChecksTheIndexAgainstTheShards) {
  const TempFolder folder;
  WriteSharded(folder, "one.safetensors", "one.safetensors");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("tensor 'b' is not in one.safetensors"));
  WriteSharded(folder, "one.safetensors", "two.safetensors");
  WriteText(folder / "two.safetensors",
            SafetensorsFile(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                            R"("b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                            ""));
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("tensor 'a' is also in"));
  WriteSharded(folder, "one.safetensors", "three.safetensors");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("three.safetensors"));
  const std::string index = folder / "model.safetensors.index.json";
  WriteText(index, R"({"weight_map":{"a":5}})");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("weight_map['a'] is number"));
  WriteText(index, R"({"weight_map":{}})");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("'weight_map' is empty"));
  WriteText(index, R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("duplicate key 'a'"));
}

TEST(CheckpointTest, SaysWhatWasFoundAndWanted) {
  const TempFolder folder;
  EXPECT_THAT(ErrorOf(folder / "absent"), HasSubstr("No such file"));
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("has no config.json"));
  WriteText(folder / "config.json", "{}");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("has neither model.safetensors nor"));
  WriteText(folder / "pytorch_model.bin", "PK");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("is a pickle"));
  EXPECT_THAT(ErrorOf(folder / "pytorch_model.bin"), HasSubstr("pickle"));
  WriteText(folder / "x.safetensors", OneTensorFile("a"));
  EXPECT_THAT(ErrorOf(folder / "x.safetensors"), HasSubstr("give the folder"));
  WriteText(folder / "config.json", "[1]");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("config.json: is array, want an object"));
  WriteText(folder / "config.json",
            "{\"a\":" + std::string(10000, '[') + std::string(10000, ']') + "}");
  EXPECT_THAT(ErrorOf(folder.path()), HasSubstr("nested deeper"));
  EXPECT_THAT(ErrorOf("/dev/null"), HasSubstr("want a regular file"));
}

class RowsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteText(folder_ / "config.json", "{}");
    fs::copy_file(OCTAVO_SOURCE_DIR "/tests/golden/io/dtypes.safetensors",
                  folder_ / "model.safetensors");
    auto opened = Checkpoint::Open(folder_.path());
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    checkpoint_ = std::move(opened).value();
  }

  TempFolder folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

TEST_F(RowsTest, ReadsEveryFloatTypeAsF32AndBf16) {
  // Each tensor is -8 .. 7 as [4, 4].
  for (const char* name :
       {"float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"}) {
    const StoredTensor* tensor = checkpoint_->Find(name);
    ASSERT_NE(tensor, nullptr) << name;
    float values[8];
    ASSERT_TRUE(checkpoint_->ReadRowsF32(*tensor, 1, 2, values).ok()) << name;
    EXPECT_THAT(values, ::testing::ElementsAre(-4, -3, -2, -1, 0, 1, 2, 3)) << name;
    uint16_t rounded[4];
    ASSERT_TRUE(checkpoint_->ReadRowsBf16(*tensor, 3, 1, rounded).ok()) << name;
    EXPECT_THAT(rounded, ::testing::ElementsAre(0x4080, 0x40a0, 0x40c0, 0x40e0)) << name;
  }
  float scalar = 0;
  ASSERT_TRUE(checkpoint_->ReadRowsF32(*checkpoint_->Find("scalar"), 0, 1, &scalar).ok());
  EXPECT_EQ(scalar, 2.5f);
  EXPECT_TRUE(checkpoint_->ReadRowsF32(*checkpoint_->Find("empty"), 0, 0, nullptr).ok());
}

TEST_F(RowsTest, RefusesRowsOutOfRangeAndIntegers) {
  float values[16];
  const StoredTensor& tensor = *checkpoint_->Find("float32");
  EXPECT_THAT(checkpoint_->ReadRowsF32(tensor, 3, 2, values).message(),
              HasSubstr("rows [3, +2), it has 4"));
  EXPECT_FALSE(checkpoint_->ReadRowsF32(tensor, -1, 1, values).ok());
  EXPECT_FALSE(checkpoint_->ReadRowsF32(tensor, 0, INT64_MAX, values).ok());
  EXPECT_THAT(checkpoint_->ReadRowsF32(*checkpoint_->Find("int8"), 0, 1, values).message(),
              HasSubstr("'int8' is I8, want a float type"));
  int8_t row[4];
  ASSERT_TRUE(checkpoint_->ReadRowsBytes(*checkpoint_->Find("int8"), 3, 1, row).ok());
  EXPECT_THAT(row, ::testing::ElementsAre(4, 5, 6, 7));
}

TEST_F(RowsTest, AFileThatShrinksIsAnError) {
  fs::resize_file(folder_ / "model.safetensors", 100);
  for (const StoredTensor& tensor : checkpoint_->tensors()) {
    std::vector<char> bytes(tensor.bytes);
    if (tensor.bytes == 0) continue;
    const Status status = checkpoint_->ReadBytes(tensor, bytes.data());
    EXPECT_THAT(status.message(), HasSubstr("shrank while it was being read")) << tensor.name;
  }
}

TEST(MmapFileTest, ReadsRangesFromFilesAndMemory) {
  const TempFolder folder;
  WriteText(folder / "f", "0123456789");
  auto opened = MmapFile::Open(folder / "f");
  ASSERT_TRUE(opened.ok());
  MmapFile memory = MmapFile::FromMemory("name", "0123456789");
  MmapFile moved = std::move(memory);  // A short string moves by copying.
  for (const MmapFile* file : {&*opened, &moved}) {
    char bytes[3] = {};
    ASSERT_TRUE(file->ReadRange(4, 3, bytes).ok());
    EXPECT_EQ(std::string_view(bytes, 3), "456");
    EXPECT_EQ(std::memcmp(file->data(), "0123456789", 10), 0);
    EXPECT_EQ(file->ReadRange(8, 3, bytes).code(), StatusCode::kDataLoss);
    EXPECT_EQ(file->ReadRange(UINT64_MAX, 2, bytes).code(), StatusCode::kDataLoss);
    EXPECT_TRUE(file->ReadRange(10, 0, bytes).ok());
    file->Prefetch(0, UINT64_MAX);
    file->DropPages(0, UINT64_MAX);
    EXPECT_EQ(file->data()[9], std::byte{'9'});
  }
  WriteText(folder / "empty", "");
  EXPECT_EQ(MmapFile::Open(folder / "empty")->size(), 0u);
  EXPECT_THAT(MmapFile::Open(folder.path()).status().message(), HasSubstr("is a folder"));
}

TEST(ShardIndexTest, NamesShards) {
  EXPECT_EQ(ShardFileName(0, 1), "model.safetensors");
  EXPECT_EQ(ShardFileName(1, 12), "model-00002-of-00012.safetensors");
}

}  // namespace
}  // namespace octavo
