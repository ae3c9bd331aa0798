// SPDX-License-Identifier: Apache-2.0
#include "quantizers/recipe_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "base/file.h"
#include "quantizers/module_choice.h"
#include "quantizers/quantize_fixture.h"

namespace octavo {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

QuantizeRecipe Parse(const std::string& text) {
  auto recipe = ParseRecipe(text, "r.yaml");
  EXPECT_TRUE(recipe.ok()) << recipe.status().ToString();
  return recipe.ok() ? *std::move(recipe) : QuantizeRecipe();
}

std::string Refusal(const std::string& text) {
  const auto recipe = ParseRecipe(text, "r.yaml");
  EXPECT_FALSE(recipe.ok()) << text;
  return recipe.ok() ? "" : recipe.status().message();
}

// A GPTQModifier with some more lines.
std::string Gptq(const std::string& lines) { return "GPTQModifier:\n  scheme: W4A16\n" + lines; }

const std::filesystem::path kExamples =
    std::filesystem::path(OCTAVO_SOURCE_DIR) / "examples" / "recipes";

TEST(RecipeFileTest, ReadsLlmCompressorsStages) {
  const QuantizeRecipe recipe = Parse(R"(
quant_stage:
  quant_modifiers:
    SmoothQuantModifier:
      smoothing_strength: 0.7
    GPTQModifier:
      targets: "Linear"
      ignore: ["lm_head", "re:.*x"]
      scheme: W8A8
      dampening_frac: 0.05
      actorder: null
      block_size: 64
)");
  ASSERT_EQ(recipe.groups.size(), 1u);
  const RecipeGroup& group = recipe.groups[0];
  EXPECT_EQ(group.scheme, "W8A8");
  EXPECT_EQ(group.algorithm, "smoothquant+gptq");
  EXPECT_EQ(group.smoothing_strength, 0.7);
  EXPECT_EQ(group.gptq.damping, 0.05);
  EXPECT_FALSE(group.gptq.act_order);
  EXPECT_THAT(group.targets, ElementsAre("Linear"));
  EXPECT_THAT(group.ignore, ElementsAre("lm_head", "re:.*x"));
  EXPECT_THAT(group.name, HasSubstr("r.yaml: line 7: GPTQModifier"));
  EXPECT_THAT(recipe.source["text"].get<std::string>(), HasSubstr("smoothing_strength: 0.7"));
}

TEST(RecipeFileTest, ReadsGroupsPresetsAndArgs) {
  const QuantizeRecipe recipe = Parse(R"({"quant_modifiers": [
    {"QuantizationModifier": {"ignore": ["a"], "group_size": 64, "config_groups": {
       "g0": {"targets": ["b"], "ignore": ["c"], "scheme": "W4A16", "algorithm": "awq", "group_size": 32},
       "g1": {"targets": ["d"], "weights": {"num_bits": 3, "strategy": "group", "group_size": 128,
                                            "actorder": "static", "observer": "minmax"}},
       "W8A16": ["e", "f"]}}},
    {"QuantizationModifier": {"scheme": {"FP8_DYNAMIC": ["g"], "UNQUANTIZED": ["h"]}}}]})");
  ASSERT_EQ(recipe.groups.size(), 5u);
  EXPECT_EQ(recipe.groups[0].algorithm, "awq");
  EXPECT_EQ(recipe.groups[0].group_size, 32);
  EXPECT_THAT(recipe.groups[0].ignore, ElementsAre("a", "c"));
  EXPECT_EQ(recipe.groups[1].scheme, "W3A16");
  EXPECT_EQ(recipe.groups[1].group_size, 128);
  EXPECT_EQ(recipe.groups[2].scheme, "W8A16");
  EXPECT_EQ(recipe.groups[2].group_size, 64);
  EXPECT_THAT(recipe.groups[2].targets, ElementsAre("e", "f"));
  EXPECT_EQ(recipe.groups[3].scheme, "FP8_DYNAMIC");
  EXPECT_EQ(recipe.groups[4].scheme, "dense");
  EXPECT_THAT(recipe.groups[4].targets, ElementsAre("h"));
}

TEST(RecipeFileTest, NamesKeyAndLineOfWhatItRefuses) {
  EXPECT_THAT(Refusal(Gptq("  dampening: 0.1\n")),
              AllOf(HasSubstr("r.yaml: line 3"), HasSubstr("'dampening'"), HasSubstr("dampening_frac")));
  EXPECT_THAT(Refusal("PruningModifier: {sparsity: 0.5}\n"),
              AllOf(HasSubstr("line 1"), HasSubstr("'PruningModifier'")));
  EXPECT_THAT(Refusal("SmoothQuantModifier:\n  mappings: []\n" + Gptq("")),
              AllOf(HasSubstr("line 2"), HasSubstr("'mappings'"), HasSubstr("architecture")));
  EXPECT_THAT(Refusal(Gptq("  actorder: group\n")), HasSubstr("line 3: actorder 'group'"));
  EXPECT_THAT(Refusal(Gptq("  dampening_frac: 2\n")), HasSubstr("line 3: dampening_frac is 2"));
  EXPECT_THAT(Refusal(Gptq("  dampening_frac: a\n")), HasSubstr("is a string, want a number"));
  EXPECT_THAT(Refusal(Gptq("  targets: {a: b}\n")), HasSubstr("targets is a map, want a string"));
  EXPECT_THAT(Refusal(Gptq("  ignore: [1]\n")), HasSubstr("ignore is a number"));
  EXPECT_THAT(Refusal("GPTQModifier:\n  ignore: [a]\n"), HasSubstr("want one of 'scheme' and"));
  EXPECT_THAT(Refusal(Gptq("  config_groups: {}\n")), HasSubstr("want one of 'scheme' and"));
  EXPECT_THAT(Refusal("GPTQModifier: [x]\n"), HasSubstr("GPTQModifier is a list, want a map"));
  EXPECT_THAT(Refusal("GPTQModifier: {scheme: W4A16}\nGPTQModifier: {scheme: W8A8}\n"),
              HasSubstr("given twice"));
  EXPECT_THAT(Refusal("a_stage: {}\n"), HasSubstr("no QuantizationModifier"));
  EXPECT_THAT(Refusal("- x\n"), HasSubstr("the recipe is a list"));
  EXPECT_THAT(Refusal("SmoothQuantModifier: {}\n" + Gptq("")), HasSubstr("no group"));
  const std::string group = "QuantizationModifier:\n  config_groups:\n    g:\n      targets: [Linear]\n";
  EXPECT_THAT(Refusal(group + "      weights: {num_bits: 5, group_size: 128}\n"),
              AllOf(HasSubstr("line 5"), HasSubstr("no scheme writes")));
  EXPECT_THAT(Refusal(group + "      weights: {num_bits: 4, group_size: 128, widht: 3}\n"),
              AllOf(HasSubstr("line 5"), HasSubstr("widht")));
  EXPECT_THAT(Refusal(group + "      weights: {num_bits: 4, group_size: 128, observer: mse}\n"),
              HasSubstr("observer 'mse'"));
  EXPECT_THAT(Refusal(group + "      scheme: W8A8\n      input_activations: {num_bits: 8}\n"),
              HasSubstr("line 6: g: 'input_activations' goes with 'weights'"));
  EXPECT_THAT(Refusal(group + "      color: red\n"), HasSubstr("line 5: g: unknown key 'color'"));
  EXPECT_EQ(LoadRecipe("/nonexistent.yaml").status().code(), StatusCode::kNotFound);
}

class ExampleRecipesTest : public QuantizeFixture {};

// The recipes that come with the program do what they say on a model.
TEST_F(ExampleRecipesTest, RunOnATinyModel) {
  int recipes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kExamples)) {
    SCOPED_TRACE(entry.path().filename().string());
    ++recipes;
    auto recipe = LoadRecipe(entry.path().string());
    ASSERT_TRUE(recipe.ok()) << recipe.status().ToString();
    const TestModel model("llama/plain");
    QuantizeOptions options;
    options.model = model.path();
    options.output = (model.root() / "out").string();
    options.recipe = std::make_shared<const QuantizeRecipe>(*recipe);
    options.calibration = samples_;
    options.threads = 2;
    const QuantizeResult result = Quantize(options);
    EXPECT_EQ(result.calibration.has_value(), NeedsCalibration(options));
    EXPECT_LT(Distance(Logits(model.path()), Logits(options.output)), 0.4);
    auto report = ParseJsonFile(options.output + "/octavo_quantize.json");
    ASSERT_TRUE(report.ok());
    EXPECT_EQ((*report)["recipe"], recipe->source);
  }
  EXPECT_GE(recipes, 4);
}

// Damaged recipes are recipes or errors, never crashes.
TEST(RecipeFileTest, SurvivesDamage) {
  std::mt19937 random(3);
  for (const auto& entry : std::filesystem::directory_iterator(kExamples)) {
    const std::string whole = *ReadFile(entry.path().string());
    for (int round = 0; round < 400; ++round) {
      std::string text = whole;
      for (size_t i = 0; i < 1 + random() % 4; ++i) {
        const size_t at = random() % text.size();
        const size_t length = 1 + random() % 12;
        if (random() % 2 == 0) {
          text.erase(at, length);
        } else {
          text.insert(at, text.substr(random() % text.size(), length));
        }
        if (text.empty()) text = " ";
      }
      const auto recipe = ParseRecipe(text, "damaged");
      if (!recipe.ok()) {
        EXPECT_THAT(recipe.status().message(), HasSubstr("damaged"));
      }
    }
  }
}

}  // namespace
}  // namespace octavo
