// SPDX-License-Identifier: Apache-2.0
// Recipes with several schemes and algorithms, from folder to folder, on the tiny models of tests/golden.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "models/load_model.h"
#include "quantizers/module_choice.h"
#include "quantizers/quantize_estimate.h"
#include "quantizers/quantize_fixture.h"
#include "schemes/open_linear.h"
#include "schemes/quantization_config.h"

namespace octavo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

RecipeGroup Group(const std::string& targets, const std::string& scheme, int group_size = 0,
                  const std::string& algorithm = "rtn") {
  RecipeGroup group;
  group.name = "group of " + targets;
  group.targets = {targets};
  group.scheme = scheme;
  group.group_size = group_size;
  group.algorithm = algorithm;
  return group;
}

class MixedRecipeTest : public QuantizeFixture {
 protected:
  QuantizeOptions Options(const TestModel& model, std::vector<RecipeGroup> groups) {
    QuantizeOptions options;
    options.model = model.path();
    options.output = (model.root() / "mixed").string();
    options.recipe = std::make_shared<const QuantizeRecipe>(
        QuantizeRecipe{.groups = std::move(groups), .source = Json{{"from", "test"}}});
    options.calibration = samples_;
    options.overwrite = true;
    options.threads = 2;
    return options;
  }

  // The message of a recipe that must be refused.
  std::string Refusal(const TestModel& model, std::vector<RecipeGroup> groups) {
    const auto result = QuantizeCheckpoint(Options(model, std::move(groups)));
    EXPECT_FALSE(result.ok());
    return result.ok() ? "" : result.status().message();
  }

  // The scheme of a module as the written checkpoint says.
  static std::string SchemeIn(const std::string& folder, const std::string& module) {
    auto checkpoint = Checkpoint::Open(folder);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    auto loader = LinearLoader::Create(**checkpoint);
    EXPECT_TRUE(loader.ok()) << loader.status().ToString();
    auto source = loader->OpenLinear(module);
    EXPECT_TRUE(source.ok()) << source.status().ToString();
    return source.ok() ? std::string((*source)->info().scheme) : "";
  }

  static Json ConfigOf(const std::string& folder) {
    auto json = ParseJsonFile(folder + "/config.json");
    EXPECT_TRUE(json.ok()) << json.status().ToString();
    return (*json)["quantization_config"];
  }
};

const std::string kLayer0 = "model.layers.0.";
const std::string kLayer1 = "model.layers.1.";

TEST_F(MixedRecipeTest, EachModuleIsStoredInItsScheme) {
  const TestModel model("llama/plain");
  const QuantizeOptions options =
      Options(model, {Group("Linear", "W8A8"), Group("re:.*mlp\\.(gate|up)_proj", "W4A16", 32),
                      Group(kLayer1 + "mlp.down_proj", "dense"), Group("re:.*o_proj$", "FP8_DYNAMIC")});
  const QuantizeResult result = Quantize(options);
  EXPECT_EQ(result.scheme, "mixed");
  EXPECT_EQ(result.algorithm, "rtn");
  EXPECT_EQ(result.group_size, 0);
  EXPECT_EQ(result.quantized_modules, 13);
  ASSERT_EQ(result.shares.size(), 3u);
  EXPECT_EQ(result.shares[1].scheme, "W4A16");
  EXPECT_EQ(result.shares[1].group_size, 32);
  EXPECT_THAT(result.ignored, ElementsAre("lm_head", kLayer1 + "mlp.down_proj"));
  for (const std::string& layer : {kLayer0, kLayer1}) {
    EXPECT_EQ(SchemeIn(options.output, layer + "self_attn.q_proj"), "W8A8");
    EXPECT_EQ(SchemeIn(options.output, layer + "mlp.up_proj"), "W4A16");
    EXPECT_EQ(SchemeIn(options.output, layer + "self_attn.o_proj"), "FP8_DYNAMIC");
  }
  EXPECT_EQ(SchemeIn(options.output, kLayer0 + "mlp.down_proj"), "W8A8");
  EXPECT_EQ(SchemeIn(options.output, kLayer1 + "mlp.down_proj"), "dense");

  // The same bytes as when the whole model is in one scheme.
  QuantizeOptions uniform = options;
  uniform.recipe = nullptr;
  uniform.scheme = "W8A8";
  uniform.output = (model.root() / "uniform").string();
  Quantize(uniform);
  auto a = Checkpoint::Open(options.output);
  auto b = Checkpoint::Open(uniform.output);
  const std::string name = kLayer0 + "mlp.down_proj.weight";
  std::vector<std::byte> bytes_a((*a)->Find(name)->bytes), bytes_b(bytes_a.size());
  for (auto [checkpoint, bytes] : {std::pair(a->get(), &bytes_a), std::pair(b->get(), &bytes_b)}) {
    const StoredTensor& tensor = *checkpoint->Find(name);
    ASSERT_TRUE(tensor.file->ReadRange(tensor.offset, bytes->size(), bytes->data()).ok());
  }
  EXPECT_EQ(bytes_a, bytes_b);
  EXPECT_LT(Distance(Logits(model.path()), Logits(options.output)), 0.2);
}

TEST_F(MixedRecipeTest, ConfigNamesFormatsPerGroup) {
  const TestModel model("llama/plain");
  const QuantizeOptions options = Options(
      model, {Group("Linear", "W8A8"), Group("re:.*mlp\\.(gate|up)_proj", "W4A16", 32)});
  Quantize(options);
  const Json config = ConfigOf(options.output);
  EXPECT_EQ(config["format"], "mixed-precision");
  EXPECT_EQ(config["config_groups"]["group_0"]["format"], "int-quantized");
  EXPECT_EQ(config["config_groups"]["group_1"]["format"], "pack-quantized");
  EXPECT_EQ(config["config_groups"]["group_1"]["targets"],
            Json({"re:model\\.layers\\.\\d+\\.mlp\\.gate_proj$",
                  "re:model\\.layers\\.\\d+\\.mlp\\.up_proj$"}));

  // Two widths of one form: the classic keys suffice, and no group claims "Linear".
  const QuantizeOptions packed = Options(
      model, {Group("Linear", "W8A16", 32), Group("re:.*mlp\\.(gate|up)_proj", "W4A16", 32)});
  Quantize(packed);
  const Json classic = ConfigOf(packed.output);
  EXPECT_EQ(classic["format"], "pack-quantized");
  EXPECT_FALSE(classic["config_groups"]["group_0"].contains("format"));
  EXPECT_EQ(SchemeIn(packed.output, kLayer1 + "self_attn.k_proj"), "W8A16");

  // Groups that differ in nothing that is stored are one.
  const QuantizeOptions same = Options(
      model, {Group("Linear", "W4A16", 32), Group("re:.*mlp\\.(gate|up)_proj", "W4A16", 32, "gptq")});
  const QuantizeResult result = Quantize(same);
  EXPECT_EQ(result.scheme, "W4A16");
  EXPECT_EQ(result.algorithm, "mixed");
  EXPECT_EQ(ConfigOf(same.output)["config_groups"]["group_0"]["targets"], Json({"Linear"}));
  EXPECT_EQ(ConfigOf(same.output)["config_groups"].size(), 1u);
}

TEST_F(MixedRecipeTest, EachModuleIsQuantizedByItsAlgorithm) {
  const TestModel model("llama/plain");
  const QuantizeOptions options =
      Options(model, {Group("re:.*self_attn\\.[qkv]_proj", "W8A8", 0, "smoothquant"),
                      Group("re:.*o_proj", "W4A16", 32, "gptq"),
                      Group("re:.*(gate|up)_proj", "W3A16", 32, "awq"),
                      Group(kLayer0 + "mlp.down_proj", "W8A16", 32)});
  const QuantizeResult result = Quantize(options);
  ASSERT_TRUE(result.calibration.has_value());
  EXPECT_EQ(result.algorithm, "mixed");
  for (const LayerReport& layer : result.calibration->layers) {
    std::map<std::string, std::string> methods;
    for (const SiteReport& site : layer.sites) methods[site.producer] = site.method;
    const std::string prefix = "model.layers." + std::to_string(layer.layer) + ".";
    EXPECT_EQ(methods[prefix + "input_layernorm"], "smoothquant");
    EXPECT_EQ(methods[prefix + "post_attention_layernorm"], "awq");
    for (const ModuleReport& module : layer.modules) {
      const bool awq = module.module.find("_proj") != std::string::npos && module.scheme == "W3A16";
      EXPECT_EQ(module.algorithm == "awq", awq) << module.module;
      EXPECT_EQ(module.algorithm == "gptq", module.scheme == "W4A16") << module.module;
      EXPECT_TRUE(module.note.empty()) << module.note;
    }
  }
  EXPECT_EQ(SchemeIn(options.output, kLayer0 + "mlp.down_proj"), "W8A16");
  EXPECT_EQ(SchemeIn(options.output, kLayer1 + "mlp.down_proj"), "dense");
  EXPECT_LT(Distance(Logits(model.path()), Logits(options.output)), 0.35);

  // GPTQ in the mix is worth as much as alone: the mixed model beats its rounded twin.
  std::vector<RecipeGroup> rounded = options.recipe->groups;
  for (RecipeGroup& group : rounded) group.algorithm = "rtn";
  QuantizeOptions plain = Options(model, rounded);
  plain.output = (model.root() / "rounded").string();
  Quantize(plain);
  const std::vector<float> original = Logits(model.path());
  EXPECT_LT(Distance(original, Logits(options.output)), Distance(original, Logits(plain.output)));
}

TEST_F(MixedRecipeTest, LayersMayStayDense) {
  const TestModel model("qwen2/tied");
  RecipeGroup group = Group("Linear", "W4A16", 32, "gptq");
  group.ignore = {"re:model\\.layers\\.0\\."};
  const QuantizeOptions options = Options(model, {group});
  const QuantizeResult result = Quantize(options);
  ASSERT_TRUE(result.calibration.has_value());
  EXPECT_EQ(result.calibration->layers.size(), 2u);
  EXPECT_TRUE(result.calibration->layers[0].modules.empty());
  EXPECT_EQ(SchemeIn(options.output, kLayer0 + "mlp.up_proj"), "dense");
  EXPECT_EQ(SchemeIn(options.output, kLayer1 + "mlp.up_proj"), "W4A16");
  auto loaded = LoadModel(options.output, {}, *ActiveIsa(), pool_);
  EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
}

TEST_F(MixedRecipeTest, InterruptedRunsContinueToTheSameBits) {
  const TestModel model("llama/plain");
  QuantizeOptions options =
      Options(model, {Group("Linear", "W4A16", 32, "gptq"), Group("re:.*down_proj", "W8A8", 0, "gptq")});
  Quantize(options);
  const std::map<std::string, std::string> whole = Contents(options.output);
  options.output = (model.root() / "resumed").string();
  std::atomic<bool> cancel{false};
  options.cancel = &cancel;
  int calls = 0;
  const auto stopped = QuantizeCheckpoint(options, [&](uint64_t, uint64_t) {
    if (++calls == 12) cancel = true;
  });
  ASSERT_EQ(stopped.status().code(), StatusCode::kCancelled);
  cancel = false;
  options.resume = true;

  // Another assignment of modules is another run.
  QuantizeOptions other = options;
  other.recipe = std::make_shared<const QuantizeRecipe>(QuantizeRecipe{
      .groups = {Group("Linear", "W4A16", 32, "gptq"), Group("re:.*o_proj", "W8A8", 0, "gptq")},
      .source = {}});
  EXPECT_EQ(QuantizeCheckpoint(other).status().code(), StatusCode::kFailedPrecondition);

  Quantize(options);
  EXPECT_EQ(Contents(options.output), whole);
}

TEST_F(MixedRecipeTest, RefusesWhatCannotWork) {
  const TestModel model("llama/plain");
  EXPECT_THAT(Refusal(model, {Group("Linear", "W8A8"), Group("re:.*q_proj", "W4A16", 32)}),
              testing::AllOf(HasSubstr("q_proj is W4A16"), HasSubstr("k_proj is W8A8"), HasSubstr("vLLM")));
  EXPECT_THAT(Refusal(model, {Group("re:.*up_proj", "W8A8")}), HasSubstr("gate_proj is dense"));
  EXPECT_THAT(Refusal(model, {Group("re:.*(gate|up)_proj", "W8A8"), Group("re:.*gate_proj", "W8A8")}),
              HasSubstr("no linear layer of the model is in the group of 're:.*gate_proj'"));
  EXPECT_THAT(Refusal(model, {Group("Linear", "QOQ_G128", 32), Group("re:.*down_proj", "W8A8")}),
              HasSubstr("cannot share a checkpoint"));
  EXPECT_THAT(Refusal(model, {Group("Linear", "W4A17")}),
              testing::AllOf(HasSubstr("group of Linear"), HasSubstr("W4A17")));
  EXPECT_THAT(Refusal(model, {Group("Linear", "W4A16", 32, "magic")}), HasSubstr("'magic': unknown"));
  EXPECT_THAT(Refusal(model, {Group("Linear", "W4A16", 32, "smoothquant")}),
              HasSubstr("8-bit activations"));
  EXPECT_THAT(Refusal(model, {Group("Linear", "W8A8", 32)}), HasSubstr("no groups"));
  EXPECT_THAT(Refusal(model, {Group("re:.*(", "W8A8")}), HasSubstr("module pattern"));
  EXPECT_THAT(Refusal(model, {Group("Linear", "dense")}), HasSubstr("no linear layer is left"));
}

TEST_F(MixedRecipeTest, EstimatesAndSizesCountEveryGroup) {
  const TestModel model("llama/plain");
  const QuantizeOptions options =
      Options(model, {Group("Linear", "W8A8"), Group("re:.*mlp\\.(gate|up)_proj", "W4A16", 32)});
  auto estimate = EstimateQuantize(options);
  ASSERT_TRUE(estimate.ok()) << estimate.status().ToString();
  const QuantizeResult result = Quantize(options);
  EXPECT_EQ(estimate->summary.output_bytes, result.output_bytes);
  EXPECT_EQ(estimate->summary.shares.size(), 2u);
  EXPECT_GT(result.bits_per_weight, result.shares[1].bits_per_weight);
  EXPECT_LT(result.bits_per_weight, result.shares[0].bits_per_weight);
}

TEST(FusedModulesTest, KnowsTheNamesThatEnginesFuse) {
  EXPECT_THAT(FusedModules("a.q_proj"), ElementsAre("a.q_proj", "a.k_proj", "a.v_proj"));
  EXPECT_THAT(FusedModules("m.up_proj"), ElementsAre("m.gate_proj", "m.up_proj"));
  EXPECT_THAT(FusedModules("e.3.w3"), ElementsAre("e.3.w1", "e.3.w3"));
  EXPECT_THAT(FusedModules("m.down_proj"), ElementsAre("m.down_proj"));
  EXPECT_THAT(FusedModules("w1"), ElementsAre("w1", "w3"));
  EXPECT_THAT(FusedModules(""), ElementsAre(""));
}

}  // namespace
}  // namespace octavo
