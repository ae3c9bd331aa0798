// SPDX-License-Identifier: Apache-2.0
// Weights as a search tries them.
#include "quantizers/quantized_source.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quantizers/test_model.h"
#include "schemes/rtn.h"

namespace octavo {
namespace {

class TrialSourceTest : public testing::Test {
 protected:
  TrialSourceTest() : model_("llama/plain"), checkpoint_(std::move(*Checkpoint::Open(model_.path()))) {
    tensor_ = checkpoint_->Find("model.layers.0.self_attn.q_proj.weight");
    module_.name = "model.layers.0.self_attn.q_proj";
    module_.n = tensor_->rows();
    module_.k = tensor_->cols();
    module_.args = scheme_->args;
    module_.args.weights.group_size = 32;
    module_.dtype = DType::kBF16;
  }

  std::vector<float> Read(std::vector<float> scales, int64_t begin, int64_t count) {
    const auto source = MakeTrialSource(*checkpoint_, *tensor_, *scheme_, module_, std::move(scales));
    std::vector<float> values(static_cast<size_t>(count * module_.k));
    EXPECT_TRUE(source->DequantizeRows(begin, count, values.data()).ok());
    return values;
  }
  std::vector<float> Ones() const { return std::vector<float>(static_cast<size_t>(module_.k), 1.0f); }

  const Scheme* scheme_ = FindScheme("W4A16_ASYM");
  TestModel model_;
  std::unique_ptr<Checkpoint> checkpoint_;
  const StoredTensor* tensor_ = nullptr;
  TargetModule module_;
};

TEST_F(TrialSourceTest, IsRoundToNearestWithoutScales) {
  std::vector<float> original(static_cast<size_t>(module_.n * module_.k));
  ASSERT_TRUE(checkpoint_->ReadRowsF32(*tensor_, 0, module_.n, original.data()).ok());
  const std::vector<float> rounded = Read(Ones(), 0, module_.n);
  double distance = 0;
  for (int64_t begin = 0; begin < std::ssize(original); begin += 32) {
    float largest = 0;
    for (int64_t i = begin; i < begin + 32; ++i) {
      largest = std::max(largest, std::fabs(original[static_cast<size_t>(i)]));
    }
    for (int64_t i = begin; i < begin + 32; ++i) {
      const float error = std::fabs(rounded[static_cast<size_t>(i)] - original[static_cast<size_t>(i)]);
      EXPECT_LE(error, 1.1f * largest / 15) << "value " << i;  // half a step of at most 2/15, and two roundings to bf16
      distance += static_cast<double>(error);
    }
  }
  EXPECT_GT(distance, 0);
}

TEST_F(TrialSourceTest, ReadsRowsAnywhere) {
  const std::vector<float> all = Read(Ones(), 0, module_.n);
  const std::vector<float> some = Read(Ones(), 5, 7);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + 5 * module_.k));
}

// Groups that grow as a whole keep their codes; a column that grows alone gets finer steps.
TEST_F(TrialSourceTest, ScalesChangeOnlyWhatShareOfItsGroupAColumnHas) {
  const std::vector<float> plain = Read(Ones(), 0, module_.n);
  EXPECT_EQ(Read(std::vector<float>(static_cast<size_t>(module_.k), 4.0f), 0, module_.n), plain);
  std::vector<float> scales = Ones();
  scales[3] = 8;
  std::vector<float> original(static_cast<size_t>(module_.n * module_.k));
  ASSERT_TRUE(checkpoint_->ReadRowsF32(*tensor_, 0, module_.n, original.data()).ok());
  const std::vector<float> scaled = Read(scales, 0, module_.n);
  double before = 0;
  double after = 0;
  for (size_t i = 3; i < plain.size(); i += static_cast<size_t>(module_.k)) {
    before += std::fabs(static_cast<double>(plain[i]) - static_cast<double>(original[i]));
    after += std::fabs(static_cast<double>(scaled[i]) - static_cast<double>(original[i]));
  }
  EXPECT_LT(after, 0.5 * before);
}

}  // namespace
}  // namespace octavo
