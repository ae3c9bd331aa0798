// SPDX-License-Identifier: Apache-2.0
// Rotated tiny models compute what the originals compute.
#include "quantizers/rotate_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "quantizers/quantize_fixture.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class RotateCheckpointTest : public QuantizeFixture {
 protected:
  // f32 throughout: what the folds themselves lose.
  static constexpr double kF32Error = 1e-5;

  Result<RotateResult> Rotate(const TestModel& model, RotateOptions options) {
    auto checkpoint = Checkpoint::Open(model.path());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    options.dtype = DType::kF32;
    folder_ = (model.root() / "rotated").string();
    return RotateCheckpoint(**checkpoint, options, folder_, pool_);
  }

  // max |w| over root mean square, the largest over all linears of a checkpoint.
  static double WorstPeak(const std::string& path) {
    auto checkpoint = Checkpoint::Open(path);
    EXPECT_TRUE(checkpoint.ok());
    double worst = 0;
    for (const StoredTensor& tensor : (*checkpoint)->tensors()) {
      if (tensor.name.find("_proj.weight") == std::string::npos) continue;
      std::vector<float> values(static_cast<size_t>(tensor.shape.NumElements()));
      EXPECT_TRUE((*checkpoint)->ReadRowsF32(tensor, 0, tensor.rows(), values.data()).ok());
      double max = 0, sum = 0;
      for (const float value : values) {
        max = std::max(max, static_cast<double>(std::fabs(value)));
        sum += static_cast<double>(value) * static_cast<double>(value);
      }
      worst = std::max(worst, max / std::sqrt(sum / static_cast<double>(values.size())));
    }
    return worst;
  }

  // gqa_tied knows 131 tokens only.
  void SetUp() override {
    auto samples = std::make_shared<CalibrationData>(*samples_);
    for (auto& sample : samples->samples) {
      for (int32_t& token : sample) token %= 128;
    }
    samples_ = samples;
  }

  std::vector<float> F32Logits(const std::string& path) {
    return Logits(path, ComputeDType::kFloat32);
  }

  std::string folder_;
};

TEST_F(RotateCheckpointTest, KeepsTheFunctionOfEveryArchitecture) {
  for (const std::string name :
       {"llama/plain", "llama/gqa_tied", "llama/llama3_rope", "llama/mistral_window",
        "llama/wide_heads_biases", "qwen2/tied", "qwen2/window_from_layer_1", "mixtral/four_experts"}) {
    TestModel model(name);
    const std::vector<float> original = F32Logits(model.path());
    for (const bool residual : {true, false}) {
      for (const bool values : {true, false}) {
        SCOPED_TRACE(testing::Message() << name << " residual " << residual << " values " << values);
        fs::remove_all(model.root() / "rotated");
        const auto rotated = Rotate(model, {.residual = residual, .values = values});
        ASSERT_TRUE(rotated.ok()) << rotated.status().ToString();
        EXPECT_EQ(rotated->residual.empty(), !residual);
        EXPECT_EQ(rotated->values.empty(), !values);
        EXPECT_LT(Distance(original, F32Logits(folder_)), kF32Error);
      }
    }
  }
}

TEST_F(RotateCheckpointTest, FoldsNormsAndUntiesTheHead) {
  const TestModel model("qwen2/tied");
  ASSERT_TRUE(Rotate(model, {}).ok());
  auto rotated = Checkpoint::Open(folder_);
  ASSERT_TRUE(rotated.ok());
  EXPECT_FALSE((*rotated)->config()["tie_word_embeddings"].get<bool>());
  const StoredTensor* head = (*rotated)->Find("lm_head.weight");
  ASSERT_NE(head, nullptr);
  EXPECT_EQ(head->shape, (*rotated)->Find("model.embed_tokens.weight")->shape);
  for (const StoredTensor& tensor : (*rotated)->tensors()) {
    if (!tensor.name.ends_with("norm.weight")) continue;
    std::vector<float> values(static_cast<size_t>(tensor.rows()));
    ASSERT_TRUE((*rotated)->ReadRowsF32(tensor, 0, tensor.rows(), values.data()).ok());
    EXPECT_THAT(values, testing::Each(1.0f)) << tensor.name;
  }
}

TEST_F(RotateCheckpointTest, SpreadsOutlierChannels) {
  TestModel model("llama/plain");
  model.InjectOutliers(3, 1.0f / 64);  // columns of the readers become 64 times larger
  ASSERT_TRUE(Rotate(model, {}).ok());
  EXPECT_LT(WorstPeak(folder_), 0.5 * WorstPeak(model.path()));
}

TEST_F(RotateCheckpointTest, ACompleteFolderIsLeftAlone) {
  const TestModel model("llama/llama3_rope");
  ASSERT_TRUE(Rotate(model, {}).ok());
  ASSERT_TRUE(fs::exists(folder_ + "/model.safetensors.index.json"));
  const auto time = fs::last_write_time(folder_ + "/config.json");
  ASSERT_TRUE(Rotate(model, {}).ok());
  EXPECT_EQ(fs::last_write_time(folder_ + "/config.json"), time);
  fs::remove(folder_ + "/config.json");
  ASSERT_TRUE(Rotate(model, {}).ok());
  EXPECT_TRUE(fs::exists(folder_ + "/config.json"));
}

TEST_F(RotateCheckpointTest, RefusesOtherGraphsAndStopsWhenAsked) {
  const TestModel opt("opt/pre_norm");
  const auto refused = Rotate(opt, {});
  EXPECT_EQ(refused.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(refused.status().message(), HasSubstr("RMSNorm"));
  const TestModel model("llama/plain");
  const std::atomic<bool> cancel{true};
  EXPECT_EQ(Rotate(model, {.cancel = &cancel}).status().code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace octavo
