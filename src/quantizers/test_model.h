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

  // The channels of every norm's output become `factor` times larger, and the columns that read them
  // as much smaller: the model's function stays.
  void InjectOutliers(const std::vector<size_t>& channels, float factor) {
    auto checkpoint = Checkpoint::Open(path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    std::unordered_map<std::string, Change> changes;
    for (const StoredTensor& tensor : (*checkpoint)->tensors()) {
      const auto ends = [&](std::string_view suffix) { return tensor.name.ends_with(suffix); };
      if (tensor.name.find(".layers.") == std::string::npos) continue;
      const bool norm = ends("norm.weight") || ends("norm.bias");
      const bool reads = ends("q_proj.weight") || ends("k_proj.weight") || ends("v_proj.weight") ||
                         ends("gate_proj.weight") || ends("up_proj.weight") || ends("fc1.weight");
      if (!norm && !reads) continue;
      const auto cols = static_cast<size_t>(norm ? tensor.rows() : tensor.cols());
      const float by = norm ? factor : 1 / factor;
      changes[tensor.name] = [=](std::vector<float>& values) {
        for (size_t i = 0; i < values.size(); ++i) {
          if (std::find(channels.begin(), channels.end(), i % cols) != channels.end()) values[i] *= by;
        }
      };
    }
    EditAll(changes);
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
