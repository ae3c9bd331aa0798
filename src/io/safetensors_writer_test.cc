// SPDX-License-Identifier: Apache-2.0
// Whole or absent, from any thread, and continued after an interruption.
#include "io/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "io/io_test_util.h"
#include "io/safetensors_reader.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TempFolder;

const std::vector<TensorSpec> kSpecs = {
    {"b.scale", DType::kF32, Shape{2}},
    {"a.weight", DType::kI8, Shape{2, 3}},
    {"c.weight", DType::kBF16, Shape{2, 2}},
    {"empty", DType::kF32, Shape{0}},
};

std::vector<std::byte> Fill(size_t size, int value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

std::unique_ptr<SafetensorsWriter> MustCreate(const std::string& path,
                                              const SafetensorsWriter::Options& options = {}) {
  auto writer = SafetensorsWriter::Create(path, kSpecs, options);
  EXPECT_TRUE(writer.ok()) << writer.status().ToString();
  return std::move(writer).value();
}

SafetensorsWriter::Options Resumable(const std::string& fingerprint = "recipe 1") {
  return {.metadata = {}, .keep_partial = true, .fingerprint = fingerprint};
}

TEST(SafetensorsWriterTest, RoundTripsAlignedAndWithFormat) {
  const TempFolder folder;
  const std::string path = folder / "model.safetensors";
  auto writer = MustCreate(path);
  ASSERT_TRUE(writer->WriteTensor("a.weight", Fill(6, 1)).ok());
  ASSERT_TRUE(writer->WriteTensor("b.scale", Fill(8, 2)).ok());
  ASSERT_TRUE(writer->WriteAt("c.weight", 4, Fill(4, 4)).ok());
  ASSERT_TRUE(writer->WriteAt("c.weight", 0, Fill(4, 3)).ok());
  ASSERT_TRUE(writer->MarkComplete("c.weight").ok());
  EXPECT_FALSE(fs::exists(path));
  ASSERT_TRUE(writer->Finish().ok());
  writer.reset();
  const auto reader = SafetensorsReader::Open(path);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  EXPECT_THAT(reader->metadata(), ::testing::ElementsAre(::testing::Pair("format", "pt")));
  EXPECT_EQ(reader->tensors()[0].name, "b.scale");  // Wide types first.
  for (const SafetensorsEntry& entry : reader->tensors()) {
    EXPECT_EQ(entry.offset % static_cast<uint64_t>(BitsOf(entry.dtype) / 8), 0u) << entry.name;
  }
  EXPECT_EQ(reader->View(*reader->Find("a.weight")).As<int8_t>()[5], 1);
  EXPECT_EQ(reader->View(*reader->Find("c.weight")).As<uint16_t>()[3], 0x0404);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(SafetensorsWriterTest, TakesTensorsFromManyThreads) {
  const TempFolder folder;
  std::vector<TensorSpec> specs;
  for (int i = 0; i < 64; ++i) specs.push_back({"t" + std::to_string(i), DType::kU8, Shape{1000}});
  auto writer = SafetensorsWriter::Create(folder / "m", specs, Resumable());
  ASSERT_TRUE(writer.ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < 64; i += 4) {
        EXPECT_TRUE((*writer)->WriteTensor("t" + std::to_string(i), Fill(1000, i)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE((*writer)->Finish().ok());
  const auto reader = SafetensorsReader::Open(folder / "m");
  ASSERT_TRUE(reader.ok());
  for (int i = 0; i < 64; ++i) {
    const auto bytes = reader->View(*reader->Find("t" + std::to_string(i))).As<uint8_t>();
    EXPECT_THAT(bytes, ::testing::Each(i));
  }
}

TEST(SafetensorsWriterTest, UnfinishedLeavesNothing) {
  const TempFolder folder;
  MustCreate(folder / "m")->WriteTensor("a.weight", Fill(6, 1)).ok();
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(SafetensorsWriterTest, ContinuesWhereItStopped) {
  const TempFolder folder;
  const std::string path = folder / "m";
  {
    auto writer = MustCreate(path, Resumable());
    EXPECT_EQ(writer->num_resumed(), 0u);
    ASSERT_TRUE(writer->WriteTensor("a.weight", Fill(6, 1)).ok());
    ASSERT_TRUE(writer->WriteAt("b.scale", 0, Fill(4, 9)).ok());  // Not complete.
  }
  EXPECT_TRUE(fs::exists(path + ".partial"));
  // A line cut by a crash does not count.
  std::ofstream(path + ".partial.journal", std::ios::app) << "b.sca";
  auto writer = MustCreate(path, Resumable());
  EXPECT_EQ(writer->num_resumed(), 1u);
  EXPECT_TRUE(writer->IsComplete("a.weight"));
  EXPECT_FALSE(writer->IsComplete("b.scale"));
  EXPECT_THAT(writer->Finish().message(), HasSubstr("'b.scale' was never completed"));
  ASSERT_TRUE(writer->WriteTensor("b.scale", Fill(8, 2)).ok());
  ASSERT_TRUE(writer->WriteTensor("c.weight", Fill(8, 3)).ok());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_FALSE(fs::exists(path + ".partial.journal"));
  const auto reader = SafetensorsReader::Open(path);
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->View(*reader->Find("a.weight")).As<int8_t>()[0], 1);
}

TEST(SafetensorsWriterTest, StartsAfreshWhenAnythingDiffers) {
  const TempFolder folder;
  const std::string path = folder / "m";
  const auto leave_partial = [&] {
    auto writer = MustCreate(path, Resumable());
    ASSERT_TRUE(writer->WriteTensor("a.weight", Fill(6, 1)).ok());
  };
  leave_partial();
  EXPECT_EQ(MustCreate(path, Resumable("recipe 2"))->num_resumed(), 0u);
  fs::remove(path + ".partial");
  leave_partial();
  fs::resize_file(path + ".partial", 100);
  EXPECT_EQ(MustCreate(path, Resumable())->num_resumed(), 0u);
  leave_partial();
  auto other = kSpecs;
  other[0].shape = Shape{3};
  auto writer = SafetensorsWriter::Create(path, other, Resumable());
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ((*writer)->num_resumed(), 0u);
}

TEST(SafetensorsWriterTest, RefusesASecondWriter) {
  const TempFolder folder;
  const auto first = MustCreate(folder / "m", Resumable());
  const auto second = SafetensorsWriter::Create(folder / "m", kSpecs, Resumable());
  EXPECT_EQ(second.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(fs::exists(folder / "m.partial"));
}

TEST(SafetensorsWriterTest, RefusesBadSpecsAndWrites) {
  const TempFolder folder;
  const auto error = [&](const std::vector<TensorSpec>& specs) {
    return SafetensorsWriter::Create(folder / "m", specs, {}).status().message();
  };
  EXPECT_THAT(error({{"t", DType::kU8, Shape{1}}, {"t", DType::kU8, Shape{2}}}),
              HasSubstr("used twice"));
  EXPECT_THAT(error({{"__metadata__", DType::kU8, Shape{1}}}), HasSubstr("reserved"));
  EXPECT_THAT(error({{"t", DType::kF4, Shape{1}}}), HasSubstr("inside a byte"));
  EXPECT_THAT(error({{"t", DType::kF64, Shape{int64_t{1} << 61}}}), HasSubstr("overflows"));
  auto writer = MustCreate(folder / "m");
  EXPECT_THAT(writer->WriteAt("a.weight", 4, Fill(3, 0)).message(), HasSubstr("it has 6 bytes"));
  EXPECT_THAT(writer->WriteTensor("a.weight", Fill(5, 0)).message(),
              HasSubstr("got 5 bytes, want 6"));
  EXPECT_EQ(writer->WriteAt("zzz", 0, {}).code(), StatusCode::kNotFound);
  EXPECT_EQ(SafetensorsWriter::Create(folder / "no/such/m", kSpecs, {}).status().code(),
            StatusCode::kNotFound);
}

// The limit on file sizes stands in for a full disk: both fail when space is reserved.
TEST(SafetensorsWriterTest, ReportsAFullDiskAtTheStart) {
  const TempFolder folder;
  rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1 << 20, old_limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto writer = SafetensorsWriter::Create(
      folder / "m", std::vector<TensorSpec>{{"t", DType::kU8, Shape{1 << 21}}}, Resumable());
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  (void)std::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(writer.ok());
  EXPECT_THAT(writer.status().message(), HasSubstr("reserving"));
}

}  // namespace
}  // namespace octavo
