// SPDX-License-Identifier: Apache-2.0
// The architecture registry and config parsing.
#include "models/model.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace octavo {
namespace {

Json LlamaConfig() {
  return Json::parse(R"({"architectures":["LlamaForCausalLM"],"model_type":"llama",
    "hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,"num_attention_heads":4,
    "num_key_value_heads":2,"vocab_size":100,"max_position_embeddings":128,
    "rms_norm_eps":1e-5,"rope_theta":500000.0})");
}

TEST(ModelRegistryTest, HasOneRowPerFile) {
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(OCTAVO_SOURCE_DIR) + "/src/models/arch")) {
    files += entry.path().extension() == ".cc" ? 1 : 0;
  }
  EXPECT_EQ(AllArchs().size(), files);
}

TEST(ModelRegistryTest, SmoothingNamesSlotsOfTheWeightMap) {
  for (const ModelArch* arch : AllArchs()) {
    const auto has = [&](std::string_view slot) {
      return std::any_of(arch->weight_map.begin(), arch->weight_map.end(),
                         [&](const WeightPattern& row) { return row.slot == slot; });
    };
    for (const SmoothingSite& site : arch->smoothing) {
      EXPECT_TRUE(has(site.producer)) << arch->name << " " << site.producer;
      for (const auto slot : site.consumers) EXPECT_TRUE(has(slot)) << arch->name << " " << slot;
    }
  }
}

TEST(ModelRegistryTest, MatchesTensorNamesByPattern) {
  const auto arch = FindArch(LlamaConfig());
  ASSERT_TRUE(arch.ok());
  const WeightPattern* row = (*arch)->Match("model.layers.17.mlp.down_proj.weight");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->slot, "down_proj");
  EXPECT_TRUE(row->quantizable);
  EXPECT_EQ((*arch)->Match("model.layers.x.mlp.down_proj.weight"), nullptr);
  EXPECT_EQ((*arch)->Match("model.layers.1.mlp.down_proj.extra.weight"), nullptr);
}

TEST(ModelRegistryTest, NamesWhatItKnowsWhenItDoesNotKnow) {
  Json config = LlamaConfig();
  config["architectures"] = {"FancyNewModel"};
  const auto arch = FindArch(config);
  ASSERT_FALSE(arch.ok());
  EXPECT_NE(arch.status().message().find("FancyNewModel"), std::string::npos);
  EXPECT_NE(arch.status().message().find("LlamaForCausalLM"), std::string::npos);
}

TEST(ModelConfigTest, ReadsLlamaFields) {
  const auto arch = FindArch(LlamaConfig());
  const auto config = (*arch)->parse_config(LlamaConfig());
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->num_kv_heads, 2);
  EXPECT_EQ(config->rope.theta, 500000.0);
  EXPECT_EQ(config->layer_windows, (std::vector<int64_t>{0, 0}));
}

TEST(ModelConfigTest, MistralWindowIs4096UnlessSaidOtherwise) {
  Json config = LlamaConfig();
  config["architectures"] = {"MistralForCausalLM"};
  const auto arch = FindArch(config);
  EXPECT_EQ((*arch)->parse_config(config)->layer_windows[0], 4096);
  config["sliding_window"] = nullptr;
  EXPECT_EQ((*arch)->parse_config(config)->layer_windows[0], 0);
  config["sliding_window"] = 32;
  EXPECT_EQ((*arch)->parse_config(config)->layer_windows[0], 32);
}

TEST(ModelConfigTest, RefusesSizesThatMakeNoSense) {
  const auto arch = FindArch(LlamaConfig());
  const auto refuses = [&](const char* key, const Json& value) {
    Json config = LlamaConfig();
    config[key] = value;
    return !(*arch)->parse_config(config).ok();
  };
  EXPECT_TRUE(refuses("hidden_size", 0));
  EXPECT_TRUE(refuses("hidden_size", -64));
  EXPECT_TRUE(refuses("hidden_size", int64_t{1} << 40));
  EXPECT_TRUE(refuses("hidden_size", "64"));
  EXPECT_TRUE(refuses("num_key_value_heads", 3));
  EXPECT_TRUE(refuses("head_dim", 15));
  EXPECT_TRUE(refuses("num_hidden_layers", 1e9));
  EXPECT_TRUE(refuses("rope_scaling", Json{{"rope_type", "yarn2"}}));
}

}  // namespace
}  // namespace octavo
