// SPDX-License-Identifier: Apache-2.0
// One layer at a time gives the same bits as the whole model.
#include "models/layerwise_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "models/teacher_forcing.h"

namespace octavo {
namespace {

const std::string kGolden = OCTAVO_SOURCE_DIR "/tests/golden/";
constexpr int64_t kTokens = 60;  // two calls of Logits, two KV blocks, within OPT.s position table

std::vector<int32_t> SomeTokens(int64_t vocab_size) {
  std::vector<int32_t> tokens(kTokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>((i * 37 + 11) % static_cast<size_t>(vocab_size));
  }
  return tokens;
}

class LayerwiseModelTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto checkpoint = Checkpoint::Open(kGolden + GetParam());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    checkpoint_ = std::move(*checkpoint);
    load_.max_model_len = kTokens;
  }

  std::vector<float> WholeModelLogits() {
    auto model = LoadModel(checkpoint_, load_, *ActiveIsa(), pool_);
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    auto forcing =
        TeacherForcing::Create(*model, kTokens, KvDType::kBf16, *ActiveIsa(), pool_);
    std::vector<float> all;
    const int64_t vocab_size = (*model)->config().vocab_size;
    EXPECT_TRUE(forcing
                    ->Run(SomeTokens(vocab_size),
                          [&](int64_t, int64_t count, const float* logits) {
                            all.insert(all.end(), logits, logits + count * vocab_size);
                            return Status::Ok();
                          })
                    .ok());
    return all;
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  LoadOptions load_;
  ThreadPool pool_{2};
};

TEST_P(LayerwiseModelTest, EqualsTheWholeModelBitForBit) {
  auto model = LayerwiseModel::Open(checkpoint_, load_, KvDType::kBf16, *ActiveIsa(), pool_);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const int64_t hidden_size = model->config().hidden_size;
  const int64_t vocab_size = model->config().vocab_size;
  std::vector<float> hidden(static_cast<size_t>(kTokens * hidden_size));
  ASSERT_TRUE(model->Embed(SomeTokens(vocab_size), hidden.data()).ok());

  std::set<std::string> slots;
  const LinearTap tap = [&](std::string_view slot, const ActivationView&) { slots.emplace(slot); };
  for (int64_t i = 0; i < model->config().num_layers; ++i) {
    ASSERT_TRUE(model->LoadLayer(i).ok());
    ASSERT_TRUE(model->RunLayer(hidden.data(), kTokens, &tap).ok());
    for (const Linear* linear : model->linears()) {
      if (linear->slot().find(".layers.") == std::string::npos) continue;  // projections around them
      EXPECT_TRUE(slots.contains(linear->slot())) << linear->slot();
      EXPECT_EQ(linear->parts()[0].module.find(".layers.0."), i == 0 ? linear->slot().find(".layers.0.") : -1);
    }
  }
  ASSERT_TRUE(model->LoadHead().ok());
  std::vector<float> logits(static_cast<size_t>(kTokens * vocab_size));
  for (int64_t row = 0; row < kTokens; row += 50) {
    ASSERT_TRUE(model->Logits(hidden.data() + row * hidden_size, std::min<int64_t>(50, kTokens - row),
                              logits.data() + row * vocab_size)
                    .ok());
  }
  EXPECT_EQ(logits, WholeModelLogits());
}

// Texts of several lengths in one call, cut by steps that end within them.
TEST_P(LayerwiseModelTest, TextsTogetherEqualTextsAloneBitForBit) {
  const std::vector<int64_t> lengths = {33, 1, kTokens, 20};
  const LayerwiseCapacity together{.tokens = 120, .texts = 4, .step_tokens = 50};
  auto all = LayerwiseModel::Open(checkpoint_, load_, KvDType::kBf16, *ActiveIsa(), pool_, together);
  auto one = LayerwiseModel::Open(checkpoint_, load_, KvDType::kBf16, *ActiveIsa(), pool_);
  ASSERT_TRUE(all.ok() && one.ok());
  const int64_t hidden_size = one->config().hidden_size;
  const std::vector<int32_t> tokens = SomeTokens(one->config().vocab_size);
  std::vector<float> rows;
  for (const int64_t length : lengths) {
    std::vector<float> text(static_cast<size_t>(length * hidden_size));
    ASSERT_TRUE(one->Embed(std::span(tokens).first(static_cast<size_t>(length)), text.data()).ok());
    rows.insert(rows.end(), text.begin(), text.end());
  }
  std::vector<float> alone = rows;
  ASSERT_TRUE(one->LoadLayer(1).ok());
  float* at = alone.data();
  for (const int64_t length : lengths) {
    ASSERT_TRUE(one->RunLayer(at, length, nullptr).ok());
    at += length * hidden_size;
  }
  ASSERT_TRUE(all->LoadLayer(1).ok());
  EXPECT_NE(rows, alone);
  ASSERT_TRUE(all->RunLayer(lengths, rows.data(), {}).ok());
  EXPECT_EQ(rows, alone);
  const std::vector<int64_t> too_many = {10, 10, 10, 10, 10};
  EXPECT_EQ(all->RunLayer(too_many, rows.data(), {}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(one->RunLayer(rows.data(), kTokens + 1, nullptr).code(), StatusCode::kInvalidArgument);
}

// A pass for the taps' sake shows them what a whole one does, and leaves the residual stream alone.
TEST_P(LayerwiseModelTest, TapsSeeTheSameWithoutTheLastProduct) {
  auto model = LayerwiseModel::Open(checkpoint_, load_, KvDType::kBf16, *ActiveIsa(), pool_);
  ASSERT_TRUE(model.ok());
  const std::vector<int32_t> tokens = SomeTokens(model->config().vocab_size);
  std::vector<float> embedded(static_cast<size_t>(kTokens * model->config().hidden_size));
  ASSERT_TRUE(model->Embed(tokens, embedded.data()).ok());
  ASSERT_TRUE(model->LoadLayer(0).ok());
  const std::array<int64_t, 1> length = {kTokens};
  const auto run = [&](bool only, std::vector<float>& hidden) {
    std::vector<std::string> seen;  // slot and bytes of every input
    const LinearTap tap = [&](std::string_view slot, const ActivationView& x) {
      std::string& bytes = seen.emplace_back(slot);
      for (int64_t row = 0; row < x.rows; ++row) {
        const auto* from = static_cast<const char*>(x.data) + row * x.row_stride * x.element_bytes();
        bytes.append(from, static_cast<size_t>(x.cols * x.element_bytes()));
      }
    };
    EXPECT_TRUE(model->RunLayer(length, hidden.data(), {.linear = &tap, .only = only}).ok());
    return seen;
  };
  std::vector<float> whole = embedded, left = embedded;
  const std::vector<std::string> want = run(false, whole);
  EXPECT_EQ(run(true, left), want);
  EXPECT_FALSE(want.empty());
  EXPECT_EQ(left, embedded);
  EXPECT_NE(whole, embedded);
}

INSTANTIATE_TEST_SUITE_P(Golden, LayerwiseModelTest,
                         ::testing::Values("llama/plain", "llama/mistral_window",
                                           "qwen2/window_from_layer_1", "mixtral/four_experts",
                                           "opt/pre_norm", "opt/post_norm_projected"));

TEST(LayerRangeTest, RefusesLayersThatDoNotExist) {
  auto checkpoint = Checkpoint::Open(kGolden + "llama/plain");
  ASSERT_TRUE(checkpoint.ok());
  ThreadPool pool(1);
  LoadOptions load;
  load.max_model_len = 8;
  auto model = LayerwiseModel::Open(std::move(*checkpoint), load, KvDType::kBf16, *ActiveIsa(), pool);
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->LoadLayer(2).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(model->LoadLayer(-1).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace octavo
