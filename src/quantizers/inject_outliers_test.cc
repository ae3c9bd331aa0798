// SPDX-License-Identifier: Apache-2.0
// Tiny models with outliers compute what they computed before.
#include "quantizers/inject_outliers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "models/load_model.h"
#include "models/teacher_forcing.h"
#include "quantizers/quantize_checkpoint.h"
#include "quantizers/test_model.h"

namespace octavo {
namespace {

using testing::HasSubstr;

class InjectOutliersTest : public testing::TestWithParam<const char*> {
 protected:
  static InjectOptions Options(const TestModel& model, float factor) {
    InjectOptions options;
    options.model = model.path();
    options.output = (model.root() / "injected").string();
    options.dims = 3;
    options.factor = factor;
    return options;
  }

  std::vector<float> Logits(const std::string& path) {
    const std::vector<int32_t> tokens = {5, 77, 12, 150, 3, 42, 9, 9, 101};
    auto model = LoadModel(path, {}, *ActiveIsa(), pool_);
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    if (!model.ok()) return {};
    const int64_t vocab_size = (*model)->config().vocab_size;
    auto forcing = TeacherForcing::Create(*model, 16, KvDType::kF32, *ActiveIsa(), pool_);
    EXPECT_TRUE(forcing.ok()) << forcing.status().ToString();
    std::vector<float> all;
    EXPECT_TRUE(forcing->Run(tokens, [&](int64_t, int64_t count, const float* logits) {
      all.insert(all.end(), logits, logits + count * vocab_size);
      return Status::Ok();
    }).ok());
    return all;
  }

  ThreadPool pool_{2};
};

TEST_P(InjectOutliersTest, APowerOfTwoKeepsEveryBitOfTheLogits) {
  const TestModel model(GetParam());
  const InjectOptions options = Options(model, 32);
  const auto result = InjectOutliers(options, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  ASSERT_EQ(result->dimensions.size(), 3u);
  EXPECT_GE(result->norms, 2);
  EXPECT_GE(result->linears, 3 * result->norms / 2);
  EXPECT_EQ(Logits(options.output), Logits(model.path()));
}

TEST_P(InjectOutliersTest, OtherFactorsRoundTheWeightsOnceMore) {
  const TestModel model(GetParam());
  const InjectOptions options = Options(model, 41.7f);
  ASSERT_TRUE(InjectOutliers(options, nullptr).ok());
  const std::vector<float> before = Logits(model.path());
  const std::vector<float> after = Logits(options.output);
  ASSERT_EQ(after.size(), before.size());
  double error = 0, size = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    error += std::pow(static_cast<double>(after[i]) - static_cast<double>(before[i]), 2);
    size += std::pow(static_cast<double>(before[i]), 2);
  }
  // Rounding 3 of 64 columns once more (2^-9 of each weight) also re-rolls the rounding of the bf16
  // activations behind them, 2^-9 per linear layer; two layers with six linears each in sequence.
  EXPECT_LT(std::sqrt(error / size), 1e-2);
}

INSTANTIATE_TEST_SUITE_P(Archs, InjectOutliersTest,
                         testing::Values("llama/plain", "qwen2/tied", "opt/pre_norm", "mixtral/four_experts"));

TEST_F(InjectOutliersTest, NormsGrowAndTheirReadersShrinkInTheSameColumns) {
  const TestModel model("llama/plain");
  const InjectOptions options = Options(model, 64);
  const auto result = InjectOutliers(options, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const auto before = Checkpoint::Open(model.path()).value();
  const auto after = Checkpoint::Open(options.output).value();
  ASSERT_EQ(after->tensors().size(), before->tensors().size());
  for (const StoredTensor& tensor : before->tensors()) {
    const auto ends = [&](std::string_view suffix) { return tensor.name.ends_with(suffix); };
    const bool norm = ends("input_layernorm.weight") || ends("post_attention_layernorm.weight");
    const bool reader = ends("q_proj.weight") || ends("k_proj.weight") || ends("v_proj.weight") ||
                        ends("gate_proj.weight") || ends("up_proj.weight");
    const float factor = norm ? 64.0f : reader ? 1 / 64.0f : 1.0f;
    const auto size = static_cast<size_t>(tensor.shape.NumElements());
    const auto period = static_cast<size_t>(norm ? tensor.rows() : tensor.cols());
    std::vector<float> old_values(size), new_values(size);
    ASSERT_TRUE(before->ReadRowsF32(tensor, 0, tensor.rows(), old_values.data()).ok());
    ASSERT_TRUE(after->ReadRowsF32(*after->Find(tensor.name), 0, tensor.rows(), new_values.data()).ok());
    for (size_t i = 0; i < size; ++i) {
      const auto& chosen = result->dimensions;
      const bool scaled = (norm || reader) && std::count(chosen.begin(), chosen.end(),
                                                         static_cast<int64_t>(i % period)) > 0;
      ASSERT_EQ(new_values[i], scaled ? factor * old_values[i] : old_values[i]) << tensor.name << " " << i;
    }
  }
}

TEST_F(InjectOutliersTest, TheSeedChoosesTheDimensions) {
  const TestModel model("llama/plain");
  InjectOptions options = Options(model, 32);
  options.overwrite = true;
  const auto first = InjectOutliers(options, nullptr).value().dimensions;
  EXPECT_EQ(InjectOutliers(options, nullptr).value().dimensions, first);
  options.seed = 2;
  EXPECT_NE(InjectOutliers(options, nullptr).value().dimensions, first);
}

TEST_F(InjectOutliersTest, RefusesWhatItCannotDo) {
  const TestModel model("llama/plain");
  InjectOptions options = Options(model, 32);
  const auto error = [](const InjectOptions& o) { return InjectOutliers(o, nullptr).status().ToString(); };
  options.dims = 1000;
  EXPECT_THAT(error(options), HasSubstr("1000 outlier dimensions of 64"));
  options.dims = 3;
  options.factor = 0;
  EXPECT_THAT(error(options), HasSubstr("positive"));
  options.factor = 3e38f;
  EXPECT_THAT(error(options), HasSubstr("beyond"));
  options.factor = 32;
  ASSERT_TRUE(InjectOutliers(options, nullptr).ok());
  EXPECT_THAT(error(options), HasSubstr("injected"));  // exists

  QuantizeOptions quantize;
  quantize.model = model.path();
  quantize.output = (model.root() / "w8a8").string();
  quantize.scheme = "W8A8";
  ASSERT_TRUE(QuantizeCheckpoint(quantize).ok());
  options.model = quantize.output;
  options.overwrite = true;
  EXPECT_THAT(error(options), HasSubstr("quantized already"));
}

}  // namespace
}  // namespace octavo
