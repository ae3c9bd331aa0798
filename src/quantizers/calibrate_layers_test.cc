// SPDX-License-Identifier: Apache-2.0
// Calibrated quantization of the tiny models of tests/golden, from folder to folder.
#include "quantizers/calibrate_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <functional>

#include "quantizers/calibration_algorithm.h"
#include "quantizers/quantize_fixture.h"
#include "quantizers/test_model.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class CalibrateLayersTest : public QuantizeFixture {
 protected:
  QuantizeOptions Options(const TestModel& model, const std::string& scheme,
                          const std::string& algorithm) {
    QuantizeOptions options = QuantizeFixture::Options(model, scheme, algorithm);
    const Scheme* found = FindScheme(scheme);
    if (found->args.weights.strategy == Strategy::kGroup) options.group_size = 32;
    return options;
  }

  // What was found for the norm before the first layer's MLP.
  static SiteReport MlpNorm(const QuantizeResult& result) {
    const std::vector<SiteReport>& sites = result.calibration->layers.front().sites;
    const auto norm = std::find_if(sites.begin(), sites.end(), [](const SiteReport& site) {
      return site.producer == "model.layers.0.post_attention_layernorm";
    });
    EXPECT_NE(norm, sites.end());
    return norm == sites.end() ? SiteReport() : *norm;
  }
};

TEST_F(CalibrateLayersTest, BeatsRoundToNearestOnEveryArchitecture) {
  for (const std::string name : {"llama/plain", "qwen2/tied", "opt/pre_norm", "mixtral/four_experts"}) {
    SCOPED_TRACE(name);
    const TestModel model(name);
    const std::vector<float> original = Logits(model.path());
    Quantize(Options(model, "W3A16", "rtn"));
    const double nearest = Distance(original, Logits(Options(model, "W3A16", "rtn").output));
    for (const std::string algorithm : {"gptq", "awq", "awq+clip"}) {
      SCOPED_TRACE(algorithm);
      const QuantizeOptions options = Options(model, "W3A16", algorithm);
      const QuantizeResult result = Quantize(options);
      ASSERT_TRUE(result.calibration.has_value());
      EXPECT_EQ(result.calibration->layers.size(), 2u);
      for (const LayerReport& layer : result.calibration->layers) {
        for (const ModuleReport& module : layer.modules) {
          EXPECT_EQ(module.algorithm, algorithm) << module.module << ": " << module.note;
          ASSERT_TRUE(module.output_relative_error.has_value());
          EXPECT_LT(*module.output_relative_error, 0.6) << module.module;
          EXPECT_GT(*module.output_cosine, 0.8) << module.module;
        }
      }
      // Scales alone have little to find where all channels are of one size.
      EXPECT_LT(Distance(original, Logits(options.output)), algorithm == "awq" ? 1.05 * nearest : nearest);
    }
  }
}

// Columns that large inputs meet are small in the weights, and the step of their group is not.
TEST_F(CalibrateLayersTest, AwqScalesProtectColumnsThatLargeInputsMeet) {
  for (const std::string name : {"qwen2/tied", "opt/pre_norm"}) {
    SCOPED_TRACE(name);
    TestModel model(name);
    model.InjectOutliers(3, 64.0f);
    const std::vector<float> original = Logits(model.path());
    Quantize(Options(model, "W4A16", "rtn"));
    const double nearest = Distance(original, Logits(Options(model, "W4A16", "rtn").output));
    Quantize(Options(model, "W4A16", "awq"));
    EXPECT_LT(Distance(original, Logits(Options(model, "W4A16", "awq").output)), 0.7 * nearest);
  }
}

// Columns that are large in the weights and meet inputs like all others: only the weights tell.
TEST_F(CalibrateLayersTest, AwqScalesTakeFromColumnsThatFillTheirGroup) {
  const std::string layer = "model.layers.0.mlp.";
  TestModel model("qwen2/tied");
  constexpr int64_t kHidden = 64;
  const TestModel::Change grow = [](std::vector<float>& w) {
    for (size_t i = 0; i < w.size(); ++i) w[i] *= i % kHidden % 16 == 3 ? 32.0f : 1.0f;
  };
  model.Edit(layer + "gate_proj.weight", grow);
  model.Edit(layer + "up_proj.weight", grow);
  const SiteReport norm = MlpNorm(Quantize(Options(model, "W4A16", "awq")));
  EXPECT_TRUE(norm.duo_scaling);
  EXPECT_LT(norm.error_ratio, 0.9);
}

// Half of the neurons reach nothing, and their rounding errors are by far the largest: scales that help them
// cost the others.
TEST_F(CalibrateLayersTest, AwqScalesServeTheLayerAndNotItsLinears) {
  const std::string layer = "model.layers.0.mlp.";
  TestModel model("qwen2/tied");
  constexpr size_t kHidden = 64;
  const TestModel::Change grow = [](std::vector<float>& w) {
    for (size_t i = 0; i < w.size() / 2; ++i) w[i] *= i % kHidden % 16 == 3 ? 256.0f : 8.0f;
  };
  model.Edit(layer + "gate_proj.weight", grow);
  model.Edit(layer + "up_proj.weight", grow);
  model.Edit(layer + "down_proj.weight", [](std::vector<float>& w) {
    const size_t neurons = w.size() / kHidden;
    for (size_t i = 0; i < w.size(); ++i) w[i] *= i % neurons < neurons / 2 ? 0.0f : 1.0f;
  });
  const SiteReport norm = MlpNorm(Quantize(Options(model, "W4A16", "awq")));
  EXPECT_LT(norm.scale_max / norm.scale_min, 4);
  EXPECT_GT(norm.error_ratio, 0.8);
}

TEST_F(CalibrateLayersTest, WritesEveryPairThatGoesTogether) {
  const TestModel model("qwen2/window_from_layer_1");
  const std::vector<float> original = Logits(model.path());
  for (const CalibrationAlgorithm& algorithm : CalibrationAlgorithms()) {
    for (const Scheme* scheme : AllSchemes()) {
      if (!scheme->writable() || scheme->name == "FP8_BLOCK") continue;  // wants 128 columns
      SCOPED_TRACE(fmt::format("{} {}", scheme->name, algorithm.name));
      const QuantizeOptions options =
          Options(model, std::string(scheme->name), std::string(algorithm.name));
      const auto result = QuantizeCheckpoint(options);
      if (!algorithm.Accepts(*scheme).ok()) {
        EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
        continue;
      }
      ASSERT_TRUE(result.ok()) << result.status().ToString();
      // Random weights forgive nothing: 3 bits in groups of 32 give some 0.5, 4 bits 0.2.
      EXPECT_LT(Distance(original, Logits(options.output)),
                scheme->args.weights.num_bits == 3 ? 0.6 : 0.3);
    }
  }
}

// A few channels of the norms' outputs become 50 times larger, and the function stays the same.
TEST_F(CalibrateLayersTest, SmoothQuantBringsBackWhatOutliersCost) {
  for (const std::string name : {"qwen2/tied", "opt/pre_norm"}) {
    SCOPED_TRACE(name);
    TestModel model(name);
    model.InjectOutliers(3, 64.0f);
    const std::vector<float> original = Logits(model.path());
    Quantize(Options(model, "W8A8", "rtn"));
    const double plain = Distance(original, Logits(Options(model, "W8A8", "rtn").output));
    for (const std::string algorithm : {"smoothquant", "smoothquant+gptq"}) {
      const QuantizeResult result = Quantize(Options(model, "W8A8", algorithm));
      const double smoothed = Distance(original, Logits(Options(model, "W8A8", algorithm).output));
      EXPECT_LT(smoothed, 0.5 * plain) << algorithm;
      const LayerReport& layer = result.calibration->layers.front();
      EXPECT_EQ(layer.sites.size(), 2u);
      for (const ModuleReport& module : layer.modules) {
        if (module.module.find("q_proj") == std::string::npos) continue;
        EXPECT_LT(module.input_absmax_smoothed, 0.2 * module.input_absmax);
      }
    }
  }
}

TEST_F(CalibrateLayersTest, LeavesPostNormModelsUnsmoothed) {
  const TestModel model("opt/post_norm_projected");
  const QuantizeResult result = Quantize(Options(model, "W8A8", "smoothquant"));
  for (const LayerReport& layer : result.calibration->layers) EXPECT_TRUE(layer.sites.empty());
}

TEST_F(CalibrateLayersTest, ContinuesAfterAKillWithTheSameBits) {
  for (const std::string algorithm : {"gptq", "awq", "awq+clip"}) {
    SCOPED_TRACE(algorithm);
    const TestModel model("llama/llama3_rope");  // three shards
    QuantizeOptions options = Options(model, "W4A16", algorithm);
    int calls = 0;
    ASSERT_TRUE(QuantizeCheckpoint(options, [&](uint64_t, uint64_t) { ++calls; }).ok());
    const auto whole = Contents(options.output);
    ASSERT_GT(calls, 20);
    options.output += "_resumed";
    options.threads = 1;  // other threads, same bits
    for (int at = 1; at <= calls; at += std::max(1, calls / 12)) {
      SCOPED_TRACE(at);
      options.resume = false;
      ASSERT_TRUE(RunKilledAt(options, at));
      EXPECT_FALSE(fs::exists(options.output));
      options.resume = true;
      Quantize(options);
      EXPECT_TRUE(Contents(options.output) == whole);
      fs::remove_all(options.output);
    }
  }
}

TEST_F(CalibrateLayersTest, ContinuesAtTheLayerWhereItStopped) {
  const TestModel model("llama/plain");
  QuantizeOptions options = Options(model, "W4A16", "gptq");
  int calls = 0;
  ASSERT_TRUE(QuantizeCheckpoint(options, [&](uint64_t, uint64_t) { ++calls; }).ok());
  fs::remove_all(options.output);
  ASSERT_TRUE(RunKilledAt(options, calls - 1));
  options.resume = true;
  int resumed = 0;
  ASSERT_TRUE(QuantizeCheckpoint(options, [&](uint64_t, uint64_t) { ++resumed; }).ok());
  EXPECT_LT(resumed, calls);
}

TEST_F(CalibrateLayersTest, StartsOverWhenTheActivationsAreDamaged) {
  const TestModel model("llama/plain");
  QuantizeOptions options = Options(model, "W4A16", "gptq");
  int calls = 0;
  ASSERT_TRUE(QuantizeCheckpoint(options, [&](uint64_t, uint64_t) { ++calls; }).ok());
  const auto whole = Contents(options.output);
  fs::remove_all(options.output);
  ASSERT_TRUE(RunKilledAt(options, calls - 1));
  for (const auto& entry : fs::directory_iterator(options.output + ".partial")) {
    if (entry.path().extension() == ".f32") fs::resize_file(entry.path(), 100);
  }
  options.resume = true;
  Quantize(options);
  EXPECT_TRUE(Contents(options.output) == whole);
}

TEST_F(CalibrateLayersTest, TakesMorePassesWithinLessMemory) {
  const TestModel model("mixtral/four_experts");
  QuantizeOptions options = Options(model, "W4A16", "gptq");
  Quantize(options);
  const auto whole = Contents(options.output);
  options.memory_limit = 4 * 2 * 64 * 64 * sizeof(float);  // two Gram matrices at a time
  Quantize(options);
  EXPECT_TRUE(Contents(options.output) == whole);
}

TEST_F(CalibrateLayersTest, RoundsAnExpertThatSawNoTokenAndSaysSo) {
  const TestModel model("mixtral/four_experts");
  samples_ = Samples(2, 1);
  const QuantizeResult result = Quantize(Options(model, "W4A16", "gptq"));
  int without = 0;
  for (const LayerReport& layer : result.calibration->layers) {
    for (const ModuleReport& module : layer.modules) {
      if (module.num_tokens > 0) continue;
      ++without;
      EXPECT_THAT(module.module, HasSubstr("experts"));
      EXPECT_EQ(module.algorithm, "rtn");
      EXPECT_THAT(module.note, HasSubstr("no calibration token"));
    }
  }
  EXPECT_GT(without, 0);  // two tokens reach at most two experts each
}

TEST_F(CalibrateLayersTest, NamesWeightsThatAreNotFinite) {
  for (const float bad : {std::nanf(""), INFINITY}) {
    TestModel model("qwen2/tied");
    model.Edit("model.layers.1.mlp.down_proj.weight", [&](std::vector<float>& w) { w[100] = bad; });
    const auto result = QuantizeCheckpoint(Options(model, "W4A16", "gptq"));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), StatusCode::kDataLoss);
    EXPECT_THAT(result.status().message(), HasSubstr("model.layers.1.mlp.down_proj.weight"));
    EXPECT_FALSE(fs::exists(Options(model, "W4A16", "gptq").output));
  }
  TestModel model("qwen2/tied");
  model.Edit("model.embed_tokens.weight", [](std::vector<float>& w) { w[64 * 20] = std::nanf(""); });
  const auto result = QuantizeCheckpoint(Options(model, "W4A16", "gptq"));
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.status().message(), HasSubstr("not finite"));
}

TEST_F(CalibrateLayersTest, RefusesWhatMakesNoSense) {
  const TestModel model("llama/plain");
  QuantizeOptions options = Options(model, "W4A16", "gptq");
  options.calibration = nullptr;
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("needs calibration data"));
  options = Options(model, "W4A16", "magic");
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("'magic'"));
  options = Options(model, "FP8_DYNAMIC", "gptq");
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("integer weights"));
  options = Options(model, "W4A16", "smoothquant");
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("8-bit activations"));
  samples_ = Samples(1, 200);
  EXPECT_THAT(QuantizeCheckpoint(Options(model, "W4A16", "gptq")).status().message(),
              HasSubstr("200 tokens, the model takes 128"));
  auto data = std::make_shared<CalibrationData>(*Samples(1, 4));
  data->samples[0][2] = 100000;
  samples_ = data;
  EXPECT_THAT(QuantizeCheckpoint(Options(model, "W4A16", "gptq")).status().message(),
              HasSubstr("100000"));
}

}  // namespace
}  // namespace octavo
