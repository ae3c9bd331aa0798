// SPDX-License-Identifier: Apache-2.0
// For tests: a copy of a tiny model of tests/golden whose weights may be changed.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/float16.h"
#include "io/checkpoint.h"
#include "io/safetensors_writer.h"
#include "quantizers/inject_outliers.h"

namespace octavo {

class TestModel {
 public:
  // `name`: "llama/plain".
  explicit TestModel(const std::string& name) {
    static int counter = 0;
    root_ = std::filesystem::path(testing::TempDir()) /
            ("octavo_model_" + std::to_string(::getpid()) + "_" + std::to_string(counter++));
    std::filesystem::create_directories(root_);
    std::filesystem::copy(std::filesystem::path(OCTAVO_SOURCE_DIR) / "tests" / "golden" / name,
                          path(), std::filesystem::copy_options::recursive);
  }
  ~TestModel() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  TestModel(const TestModel&) = delete;
  TestModel& operator=(const TestModel&) = delete;

  std::filesystem::path root() const { return root_; }
  std::string path() const { return (root_ / "model").string(); }

  using Change = std::function<void(std::vector<float>& values)>;

  // Rewrites one tensor of a model with a single file.
  void Edit(const std::string& tensor, const Change& change) { EditAll({{tensor, change}}); }

  // Gives the model `dims` outlier features, `factor` times larger, by the library.
  void InjectOutliers(int64_t dims, float factor) {
    const std::string output = (root_ / "outliers").string();
    const auto result = octavo::InjectOutliers(
        {.model = path(), .output = output, .dims = dims, .factor = factor}, nullptr);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    std::filesystem::remove_all(path());
    std::filesystem::rename(output, path());
  }

 private:
  void EditAll(const std::unordered_map<std::string, Change>& changes) {
    auto checkpoint = Checkpoint::Open(path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    std::vector<TensorSpec> specs;
    for (const StoredTensor& tensor : (*checkpoint)->tensors()) {
      specs.push_back({tensor.name, DType::kBF16, tensor.shape});
    }
    const std::string file = path() + "/model.safetensors";
    auto writer = SafetensorsWriter::Create(file, specs, {});
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    for (const StoredTensor& tensor : (*checkpoint)->tensors()) {
      std::vector<float> values(static_cast<size_t>(tensor.shape.NumElements()));
      ASSERT_TRUE((*checkpoint)->ReadRowsF32(tensor, 0, tensor.rows(), values.data()).ok());
      if (const auto it = changes.find(tensor.name); it != changes.end()) it->second(values);
      std::vector<uint16_t> bits;
      for (const float value : values) bits.push_back(F32ToBf16(value));
      ASSERT_TRUE((*writer)->WriteTensor(tensor.name, std::as_bytes(std::span(bits))).ok());
    }
    ASSERT_TRUE((*writer)->Finish().ok());
  }

  std::filesystem::path root_;
};

}  // namespace octavo
