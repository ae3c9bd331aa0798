// SPDX-License-Identifier: Apache-2.0
// QoQ end to end on tiny models: what each transform keeps, what it brings, and resuming.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "quantizers/channel_order.h"
#include "quantizers/quantize_fixture.h"
#include "quantizers/quantized_source.h"
#include "quantizers/smooth_attention.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class QoqTest : public QuantizeFixture {
 protected:
  static QuantizeOptions Options(const TestModel& model, const std::string& scheme,
                                 const std::vector<std::string>& transforms) {
    QuantizeOptions options;
    options.model = model.path();
    options.output = (model.root() / "quantized").string();
    options.scheme = scheme;
    options.algorithm = "qoq";
    if (FindScheme(scheme)->args.weights.strategy == Strategy::kGroup) options.group_size = 32;
    EXPECT_TRUE(SetQoqTransforms(transforms, options.qoq).ok());
    options.overwrite = true;
    options.threads = 2;
    return options;
  }

  QuantizeOptions WithSamples(QuantizeOptions options) const {
    options.calibration = samples_;
    return options;
  }

  const LayerReport& FirstLayer(const QuantizeResult& result) {
    EXPECT_TRUE(result.calibration.has_value());
    return result.calibration->layers.front();
  }

  static std::vector<std::string> Methods(const LayerReport& layer) {
    std::vector<std::string> methods;
    for (const SiteReport& site : layer.sites) methods.push_back(site.method);
    return methods;
  }
};

// With 8 bits per weight nothing but the transforms could change the function noticeably.
TEST_F(QoqTest, EveryTransformKeepsTheFunction) {
  // The first has biases everywhere, but its 88 columns have no groups.
  for (const auto& [name, scheme] : {std::pair<std::string, std::string>{"llama/wide_heads_biases", "W8A8"},
                                     {"qwen2/tied", "W8A16"},
                                     {"mixtral/four_experts", "W8A16"}}) {
    const TestModel model(name);
    const std::vector<float> original = Logits(model.path(), ComputeDType::kFloat32);
    double plain = 0;
    for (const std::string transform : {"none", "rotate", "rotate-values", "center-keys", "smooth-attention",
                                        "reorder", "smooth-output", "clip", "gptq", "all"}) {
      SCOPED_TRACE(name + " " + transform);
      const QuantizeOptions options = WithSamples(Options(model, scheme, {transform}));
      Quantize(options);
      const double error = Distance(original, Logits(options.output, ComputeDType::kFloat32));
      if (transform == "none") plain = error;
      EXPECT_LT(error, std::max(2.5 * plain, 0.02));
    }
    EXPECT_GT(plain, 0);
  }
}

TEST_F(QoqTest, ReorderedChannelsMeetTheirPartners) {
  for (const std::string name : {"llama/plain", "qwen2/window_from_layer_1", "llama/wide_heads_biases"}) {
    SCOPED_TRACE(name);
    const TestModel model(name);
    const std::vector<float> original = Logits(model.path(), ComputeDType::kFloat32);
    const auto error = [&](const std::string& transform) {
      QuantizeOptions options = WithSamples(Options(model, "W4A16", {transform}));
      if (name == "llama/wide_heads_biases") {
        options.group_size = 16;  // less than a head of 24, so that o_proj's inputs move
        options.ignore = {".*down_proj"};
      }
      const QuantizeResult result = Quantize(options);
      if (transform == "reorder") {
        EXPECT_THAT(Methods(FirstLayer(result)), testing::Contains("reorder"));
      }
      return Distance(original, Logits(options.output, ComputeDType::kFloat32));
    };
    // A wrong partner anywhere gives an error near 1.
    EXPECT_LT(error("reorder"), 1.2 * error("none"));
  }
}

TEST_F(QoqTest, WritesWhatItDid) {
  const TestModel model("qwen2/tied");
  const QuantizeOptions options = WithSamples(Options(model, "QOQ_G128", {"all"}));
  const QuantizeResult result = Quantize(options);
  EXPECT_EQ(result.algorithm, "qoq");
  EXPECT_THAT(Methods(FirstLayer(result)), testing::IsSupersetOf({"smooth-attention", "smooth-output"}));
  for (const ModuleReport& module : FirstLayer(result).modules) EXPECT_EQ(module.algorithm, "gptq");
  const Json report = ParseJsonFile(options.output + "/octavo_quantize.json").value();
  EXPECT_EQ(report["qoq"]["transforms"].size(), QoqTransformNames().size());
  EXPECT_THAT(report["qoq"]["residual_rotation"].get<std::string>(), HasSubstr("H"));
  const Json config = ParseJsonFile(options.output + "/config.json").value();
  EXPECT_FALSE(config["tie_word_embeddings"].get<bool>());
  EXPECT_EQ(config["quantization_config"]["quant_method"], "octavo_qoq");
  EXPECT_FALSE(fs::exists(options.output + "/octavo_rotated"));
}

TEST_F(QoqTest, BringsBackWhatOutliersCost) {
  TestModel model("llama/plain");
  model.InjectOutliers(3, 64.0f);
  const std::vector<float> original = Logits(model.path());
  const auto error = [&](const std::vector<std::string>& transforms) {
    const QuantizeOptions options = WithSamples(Options(model, "QOQ_G128", transforms));
    Quantize(options);
    return Distance(original, Logits(options.output));
  };
  const double nearest = error({"none"});
  const double rotated = error({"rotate", "rotate-values"});
  EXPECT_LT(rotated, 0.7 * nearest);
  EXPECT_LT(error({"all"}), rotated);
}

// Keys that share a large part leave a 4-bit page few codes for the rest; other pages do not change.
TEST_F(QoqTest, CentersKeysForSmallPages) {
  TestModel model("llama/plain");
  model.Edit("model.embed_tokens.weight", [](std::vector<float>& values) {
    for (size_t i = 0; i < values.size(); i += 64) values[i] += 1.5f;
  });
  model.Edit("model.layers.0.self_attn.k_proj.weight", [](std::vector<float>& values) {
    for (size_t row = 0; row < values.size() / 64; row += 5) values[row * 64] += row % 2 == 0 ? 3.0f : -4.0f;
  });
  const auto logits = [&](const std::string& transform, KvDType kv_dtype) {
    const QuantizeOptions options = WithSamples(Options(model, "W8A16", {transform}));
    Quantize(options);
    EXPECT_EQ(fs::exists(options.output + "/octavo_kv_cache.json"), transform == "center-keys");
    return Logits(options.output, ComputeDType::kFloat32, kv_dtype);
  };
  const std::vector<float> whole = logits("none", KvDType::kF32);
  EXPECT_EQ(logits("center-keys", KvDType::kF32), whole);
  const double plain = Distance(whole, logits("none", KvDType::kInt4));
  const double centered = Distance(whole, logits("center-keys", KvDType::kInt4));
  EXPECT_LT(centered, 0.7 * plain);
}

// Error propagation may not push level 1 out of int8; reading the checkpoint checks it row by row.
TEST_F(QoqTest, GptqStaysWithinInt8) {
  const TestModel model("llama/mistral_window");
  const QuantizeOptions options = WithSamples(Options(model, "QOQ_G128", {"gptq"}));
  Quantize(options);
  auto checkpoint = Checkpoint::Open(options.output);
  ASSERT_TRUE(checkpoint.ok());
  auto linears = LinearLoader::Create(**checkpoint);
  ASSERT_TRUE(linears.ok());
  WeightRows rows;
  for (const std::string& module : LinearModules(**checkpoint)) {
    auto source = linears->OpenLinear(module);
    ASSERT_TRUE(source.ok()) << source.status().ToString();
    EXPECT_TRUE((*source)->ReadRows(0, (*source)->spec().n, rows).ok()) << module;
  }
}

TEST_F(QoqTest, ContinuesAfterCancellationWithTheSameBits) {
  const TestModel model("llama/llama3_rope");
  QuantizeOptions options = WithSamples(Options(model, "QOQ_G128", {"all"}));
  int calls = 0, turns = 0;
  options.rotate_progress = [&](uint64_t, uint64_t) { ++turns; };
  ASSERT_TRUE(QuantizeCheckpoint(options, [&](uint64_t, uint64_t) { ++calls; }).ok());
  const auto whole = Contents(options.output);
  ASSERT_GT(turns, 10);
  fs::remove_all(options.output);
  for (const int stop : {turns / 2, turns + calls / 3, turns + calls - 1}) {
    SCOPED_TRACE(stop);
    std::atomic<bool> cancel{false};
    int seen = 0;
    const auto count = [&](uint64_t, uint64_t) {
      if (++seen == stop) cancel = true;
    };
    QuantizeOptions stopped = options;
    stopped.cancel = &cancel;
    stopped.rotate_progress = count;
    EXPECT_EQ(QuantizeCheckpoint(stopped, count).status().code(), StatusCode::kCancelled);
    stopped.cancel = nullptr;
    stopped.resume = true;
    stopped.threads = 1;
    Quantize(stopped);
    EXPECT_TRUE(Contents(options.output) == whole);
    fs::remove_all(options.output);
  }
}

TEST_F(QoqTest, RefusesWhatItCannotRotate) {
  const TestModel model("opt/pre_norm");
  const auto refused = QuantizeCheckpoint(WithSamples(Options(model, "QOQ_G128", {"all"})));
  EXPECT_EQ(refused.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(refused.status().message(), HasSubstr("rotate"));
  EXPECT_FALSE(fs::exists(model.root() / "quantized.partial"));
  EXPECT_TRUE(QuantizeCheckpoint(WithSamples(Options(model, "QOQ_G128", {"gptq", "clip"}))).ok());
  QoqOptions options;
  EXPECT_THAT(SetQoqTransforms({"rotate", "spin"}, options).message(), HasSubstr("'spin'"));
}

// What the next layers of a calibration see is what the checkpoint will compute.
TEST_F(QoqTest, RowsInMemoryAreThoseOfTheCheckpoint) {
  const Scheme& scheme = *FindScheme("QOQ_G128");
  TargetModule module{.name = "m", .n = 40, .k = 256, .dtype = DType::kBF16, .args = scheme.args};
  std::vector<float> x(static_cast<size_t>(module.n * module.k));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i % 1013));
  auto rows = std::make_shared<QuantizedRows>();
  ASSERT_TRUE(scheme.quantize(module, x.data(), 0, module.n, *rows).ok());
  auto source = MakeQuantizedSource(scheme, module, rows);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  WeightRows part;
  ASSERT_TRUE((*source)->ReadRows(7, 3, part).ok());
  const int64_t groups = module.k / 128;
  ASSERT_EQ(part.scales2.size(), static_cast<size_t>(3 * groups));
  for (int64_t i = 0; i < 3 * groups; ++i) {
    EXPECT_EQ(part.scales2[static_cast<size_t>(i)], rows->scales2[static_cast<size_t>(7 * groups + i)]);
    EXPECT_EQ(part.zeros2[static_cast<size_t>(i)], rows->zeros2[static_cast<size_t>(7 * groups + i)]);
  }
}

TEST(ChannelOrderTest, SortsWithinBlocksAndKeepsTies) {
  EXPECT_THAT(OrderBySalience({3, 1, 2, 1}, 4), ElementsAre(1, 3, 2, 0));
  EXPECT_THAT(OrderBySalience({3, 1, 2, 1}, 2), ElementsAre(1, 0, 3, 2));
}

TEST(ChannelOrderTest, QueryHeadsThatShareValuesMoveAlike) {
  // Two heads of values of two channels, four query heads.
  const HeadOrder order = OrderHeads({1, 2, 5, 2, 9, 1, 1, 1}, 2, 2);
  EXPECT_THAT(order.values, ElementsAre(1, 0, 3, 2));
  EXPECT_THAT(order.inputs, ElementsAre(1, 0, 3, 2, 5, 4, 7, 6));
}

TEST(ChannelOrderTest, PermutesTheGramMatrixInPlace) {
  constexpr int64_t kSize = 5;
  InputStatistics input{.k = kSize, .num_tokens = 1, .absmax = {0, 1, 2, 3, 4}, .abs_sum = {0, 1, 2, 3, 4}, .gram = {}};
  input.gram = *AlignedBuffer::Allocate(kSize * kSize * sizeof(float));
  for (int64_t i = 0; i < kSize * kSize; ++i) input.gram.As<float>()[i] = static_cast<float>(i);
  const std::vector<int32_t> order = {2, 0, 1, 4, 3};
  ReorderInput(order, input);
  EXPECT_THAT(input.absmax, ElementsAre(2, 0, 1, 4, 3));
  for (int64_t i = 0; i < kSize; ++i) {
    for (int64_t j = 0; j < kSize; ++j) {
      EXPECT_EQ(input.Gram().Row(i)[j], static_cast<float>(order[static_cast<size_t>(i)] * kSize +
                                                           order[static_cast<size_t>(j)]));
    }
  }
}

TEST(SmoothAttentionTest, ScalesArePowersOfTwo) {
  EXPECT_THAT(SmoothAttentionScales({0, 1, 4, 15, 300, 0.25f}, 0.5), ElementsAre(1, 1, 2, 4, 16, 0.5f));
  EXPECT_THAT(SmoothAttentionScales({4, 300}, 0), ElementsAre(1, 1));
}

}  // namespace
}  // namespace octavo
