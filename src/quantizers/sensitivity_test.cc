// SPDX-License-Identifier: Apache-2.0
// Sensitivities of the tiny models of tests/golden, against models that are really quantized.
#include "quantizers/sensitivity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <span>

#include "metrics/comparison.h"
#include "quantizers/bit_budget.h"
#include "quantizers/quantize_fixture.h"

namespace octavo {
namespace {

using testing::HasSubstr;

class SensitivityTest : public QuantizeFixture {
 protected:
  SensitivityOptions Options(const TestModel& model) {
    SensitivityOptions options;
    options.model = model.path();
    options.candidates = {"W3A16", "W4A16", "W8A16", "dense"};
    options.group_size = 32;
    options.data = samples_;
    options.max_tokens = 96;  // the two samples of Logits()
    return options;
  }

  // Mean KL(original || quantized) over every fourth position, as the meter takes them.
  double Divergence(const std::string& original, const std::string& quantized) {
    const std::vector<float> a = Logits(original);
    const std::vector<float> b = Logits(quantized);
    const size_t vocab_size = a.size() / 96;
    double sum = 0;
    for (size_t row = 3; row < 96; row += 4) {
      sum += CompareLogits(std::span(a).subspan(row * vocab_size, vocab_size),
                           std::span(b).subspan(row * vocab_size, vocab_size), 0)
                 .kl;
    }
    return sum / 24;
  }
};

TEST_F(SensitivityTest, MeasuresWhatQuantizingOneUnitCosts) {
  const TestModel model("llama/plain");
  auto meter = SensitivityMeter::Create(Options(model), pool_);
  ASSERT_TRUE(meter.ok()) << meter.status().ToString();
  uint64_t last = 0;
  uint64_t all = 0;
  auto sensitivity = meter->Measure([&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    last = done;
    all = total;
  });
  ASSERT_TRUE(sensitivity.ok()) << sensitivity.status().ToString();
  EXPECT_EQ(last, all);
  ASSERT_EQ(sensitivity->units.size(), 8u);  // qkv, o, gate_up and down of two layers
  EXPECT_EQ(sensitivity->num_tokens, 96);
  for (const SensitivityUnit& unit : sensitivity->units) {
    SCOPED_TRACE(unit.name);
    EXPECT_GT(unit.kl[0], unit.kl[1]);
    EXPECT_GT(unit.kl[1], unit.kl[2]);
    EXPECT_EQ(unit.kl[3], 0);
    EXPECT_NEAR(unit.bits[1] / unit.weights, 5.0, 0.1);  // groups of 32: an f32 scale for each
    EXPECT_EQ(unit.bits[3], 16 * unit.weights);
  }
  // One of them for real: the file's predictions differ by as much. The model there keeps f32 KV and
  // the meter bf16, hence the tolerance.
  size_t gate_up = 0;
  while (sensitivity->units[gate_up].name != "model.layers.0.mlp.gate_proj+up_proj") ++gate_up;
  const SensitivityUnit& unit = sensitivity->units[gate_up];
  QuantizeOptions options;
  options.model = model.path();
  options.output = (model.root() / "one").string();
  options.threads = 2;
  std::vector<int> choice(8, 3);
  choice[gate_up] = 0;
  options.recipe = std::make_shared<const QuantizeRecipe>(
      RecipeOf(*sensitivity, {.choice = choice}, RecipeGroup()));
  Quantize(options);
  EXPECT_NEAR(Divergence(model.path(), options.output) / unit.kl[0], 1, 0.1);

  // A mix of all: the meter's figure is the file's, and the parts add up to about it.
  choice = {1, 0, 2, 1, 1, 1, 0, 2};
  auto mix = meter->MeasureMix(choice);
  ASSERT_TRUE(mix.ok());
  options.output = (model.root() / "mix").string();
  options.recipe = std::make_shared<const QuantizeRecipe>(
      RecipeOf(*sensitivity, {.choice = choice}, RecipeGroup()));
  Quantize(options);
  EXPECT_NEAR(Divergence(model.path(), options.output) / *mix, 1, 0.1);
  double sum = 0;
  for (size_t i = 0; i < choice.size(); ++i) sum += sensitivity->units[i].kl[static_cast<size_t>(choice[i])];
  EXPECT_NEAR(sum / *mix, 1, 0.5);
}

TEST_F(SensitivityTest, ServesEveryArchitecture) {
  for (const std::string name : {"qwen2/tied", "opt/pre_norm", "mixtral/four_experts"}) {
    SCOPED_TRACE(name);
    const TestModel model(name);
    SensitivityOptions options = Options(model);
    options.candidates = {"W8A8", "FP8_DYNAMIC"};
    options.group_size = 0;
    auto meter = SensitivityMeter::Create(options, pool_);
    ASSERT_TRUE(meter.ok()) << meter.status().ToString();
    auto sensitivity = meter->Measure(nullptr);
    ASSERT_TRUE(sensitivity.ok()) << sensitivity.status().ToString();
    // All experts of a layer are one unit.
    EXPECT_EQ(sensitivity->units.size(), name == "mixtral/four_experts" ? 6u : 8u);
    for (const SensitivityUnit& unit : sensitivity->units) {
      EXPECT_GT(unit.kl[0], 0) << unit.name;
      EXPECT_GT(unit.kl[1], 0) << unit.name;
    }
    // Nothing that runs chooses for itself: the same figures again.
    auto again = SensitivityMeter::Create(options, pool_);
    auto repeated = again->Measure(nullptr);
    ASSERT_TRUE(repeated.ok());
    EXPECT_EQ(ToJson(*repeated), ToJson(*sensitivity));
  }
}

TEST_F(SensitivityTest, RefusesWhatCannotBeChosen) {
  const TestModel model("llama/plain");
  const auto refusal = [&](std::vector<std::string> candidates) {
    SensitivityOptions options = Options(model);
    options.candidates = std::move(candidates);
    const auto meter = SensitivityMeter::Create(options, pool_);
    EXPECT_FALSE(meter.ok());
    return meter.ok() ? "" : meter.status().message();
  };
  EXPECT_THAT(refusal({"W4A16", "W4A16"}), HasSubstr("twice"));
  EXPECT_THAT(refusal({"W4A16", "W5"}), HasSubstr("candidate W5"));
  EXPECT_THAT(refusal({"QOQ_G128"}), HasSubstr("octavo_qoq"));
  EXPECT_THAT(refusal({"dense"}), HasSubstr("no candidate"));
  SensitivityOptions empty = Options(model);
  empty.data = std::make_shared<const CalibrationData>();
  EXPECT_THAT(SensitivityMeter::Create(empty, pool_).status().message(), HasSubstr("no sample"));

  std::atomic<bool> cancel{true};
  SensitivityOptions cancelled = Options(model);
  cancelled.cancel = &cancel;
  auto meter = SensitivityMeter::Create(cancelled, pool_);
  ASSERT_TRUE(meter.ok());
  EXPECT_EQ(meter->Measure(nullptr).status().code(), StatusCode::kCancelled);

  TestModel broken("llama/plain");
  broken.Edit("model.layers.1.mlp.down_proj.weight",
              [](std::vector<float>& values) { values[5] = std::numeric_limits<float>::infinity(); });
  auto of_broken = SensitivityMeter::Create(Options(broken), pool_);
  ASSERT_TRUE(of_broken.ok());
  EXPECT_EQ(of_broken->Measure(nullptr).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace octavo
