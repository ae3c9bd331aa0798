// SPDX-License-Identifier: Apache-2.0
// The golden modules of every quantized form with damaged headers, configs and data: an error that names
// the folder, or numbers; never a crash, and never memory that the file does not explain.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(OCTAVO_SOURCE_DIR) / "tests/golden/schemes";

std::vector<std::string> Forms() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class DamagedFormsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / ("octavo_damaged_" + GetParam() + std::to_string(::getpid()));
    fs::create_directories(folder_);
    weights_ = *ReadFile((kGolden / GetParam() / "model.safetensors").string());
    config_ = *ReadFile((kGolden / GetParam() / "config.json").string());
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Opens the damaged folder and reads all rows; a model that claims more than the file holds is caught
  // before anything of its size is allocated.
  void Try(const std::string& weights, const std::string& config, const std::string& what) {
    Replace("model.safetensors", weights, have_weights_);
    Replace("config.json", config, have_config_);
    ++tries_;
    const Status status = ReadEverything();
    if (status.ok()) return;
    ++errors_;
    EXPECT_NE(status.message().find(folder_.string()), std::string::npos)
        << what << ": " << status.message();
    EXPECT_LT(status.message().size(), 2000u) << what;
  }

  // A new file each time: some file systems flush what is truncated and written again.
  void Replace(const char* name, const std::string& content, std::string& have) {
    if (content == have) return;
    have = content;
    fs::remove(folder_ / name);
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  Status ReadEverything() {
    OCTAVO_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(folder_.string()));
    OCTAVO_ASSIGN_OR_RETURN(const LinearLoader loader, LinearLoader::Create(*checkpoint));
    OCTAVO_ASSIGN_OR_RETURN(const auto source, loader.OpenLinear("layer"));
    const WeightSpec& spec = source->spec();
    // Codes have at least one bit, so a file of B bytes has at most 8 B of them.
    EXPECT_LE(spec.n * spec.k, static_cast<int64_t>(8 * weights_.size()));
    WeightRows rows;
    OCTAVO_RETURN_IF_ERROR(source->ReadRows(0, spec.n, rows));
    std::vector<float> values(static_cast<size_t>(spec.n * spec.k));
    return source->DequantizeRows(0, spec.n, values.data());
  }

  fs::path folder_;
  std::string weights_;
  std::string config_;
  std::string have_weights_;  // what is on disk
  std::string have_config_;
  int tries_ = 0;
  int errors_ = 0;
};

TEST_P(DamagedFormsTest, FlippedBitsAnywhere) {
  for (size_t i = 0; i < weights_.size(); i += 1 + weights_.size() / 150) {
    std::string broken = weights_;
    broken[i] = static_cast<char>(broken[i] ^ (1 << (i % 8)));
    Try(broken, config_, "bit flipped in byte " + std::to_string(i));
  }
  EXPECT_GT(errors_, 0);
  EXPECT_LT(errors_, tries_);  // most of the file is codes, where any bit is a number
}

TEST_P(DamagedFormsTest, ExtremeBytesInTheData) {
  for (size_t i = 8; i + 8 <= weights_.size(); i += 8 + weights_.size() / 100) {
    std::string broken = weights_;
    broken.replace(i, 8, i % 3 == 0 ? std::string(8, '\xff') : std::string("\x7f\xff\xff\x7f\x80\0\0\x80", 8));
    Try(broken, config_, "extreme bytes at " + std::to_string(i));
  }
  EXPECT_GT(errors_, 0);
}

TEST_P(DamagedFormsTest, DigitsOfTheHeaderAndConfig) {
  const size_t header = 8 + static_cast<size_t>(static_cast<uint8_t>(weights_[0]) |
                                                static_cast<uint8_t>(weights_[1]) << 8);
  for (size_t i = 8; i < header && i < weights_.size(); ++i) {
    if (weights_[i] < '0' || weights_[i] > '9') continue;
    std::string broken = weights_;
    broken[i] = broken[i] == '9' ? '0' : '9';
    Try(broken, config_, "digit changed in byte " + std::to_string(i));
  }
  EXPECT_EQ(errors_, tries_);  // shapes and offsets that do not fit each other
  for (size_t i = 0; i < config_.size(); i += 1 + config_.size() / 60) {
    for (const char* text : {"", "-", "99999999999", "null", "\"", "{"}) {
      std::string broken = config_;
      broken.replace(i, 1, text);
      Try(weights_, broken, "config byte " + std::to_string(i) + " = " + text);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, DamagedFormsTest, testing::ValuesIn(Forms()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace octavo
