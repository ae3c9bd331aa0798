// SPDX-License-Identifier: Apache-2.0
#include "schemes/quantization_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace octavo {
namespace {

using testing::HasSubstr;

Result<QuantizationConfig> Parse(const std::string& quantization_config) {
  auto json = ParseJson("{\"quantization_config\":" + quantization_config + "}");
  EXPECT_TRUE(json.ok()) << json.status().ToString();
  return QuantizationConfig::FromModelConfig(*json);
}

std::string SchemeOf(const QuantizationConfig& config, std::string_view module,
                     std::string_view module_class = "Linear") {
  auto resolved = config.Resolve(module, module_class);
  EXPECT_TRUE(resolved.ok()) << resolved.status().ToString();
  return resolved.ok() ? std::string(resolved->scheme->name) : "";
}

// The form that vLLM and transformers were seen to load.
constexpr const char* kW4A16 = R"({"quant_method":"compressed-tensors","format":"pack-quantized",
 "quantization_status":"compressed","global_compression_ratio":null,"kv_cache_scheme":null,
 "ignore":["lm_head","re:.*gate$"],
 "config_groups":{"group_0":{"targets":["Linear"],
  "weights":{"num_bits":4,"type":"int","symmetric":true,"strategy":"group","group_size":128,
             "dynamic":false,"actorder":"static","observer":"minmax","observer_kwargs":{}},
  "input_activations":null,"output_activations":null}}})";

TEST(QuantizationConfigTest, ResolvesTargetsAndIgnore) {
  auto config = Parse(kW4A16);
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(SchemeOf(*config, "model.layers.0.mlp.up_proj"), "W4A16");
  EXPECT_EQ(SchemeOf(*config, "lm_head"), "dense");
  EXPECT_EQ(SchemeOf(*config, "model.layers.0.mlp.gate"), "dense");
  EXPECT_EQ(SchemeOf(*config, "model.embed_tokens", "Embedding"), "dense");
}

TEST(QuantizationConfigTest, AbsentMeansDense) {
  auto config = QuantizationConfig::FromModelConfig(Json::object());
  ASSERT_TRUE(config.ok());
  EXPECT_FALSE(config->quantized());
  EXPECT_EQ(SchemeOf(*config, "x"), "dense");
}

TEST(QuantizationConfigTest, PrefersNamesOverExpressionsOverClasses) {
  auto config = Parse(R"({"quant_method":"compressed-tensors","format":"mixed-precision",
    "config_groups":{
     "a":{"targets":["Linear"],"format":"pack-quantized","weights":{"num_bits":4,"group_size":64}},
     "b":{"targets":["re:.*down_proj"],"weights":{"num_bits":8,"strategy":"channel"},
          "input_activations":{"num_bits":8,"strategy":"token","dynamic":true}},
     "c":{"targets":["model.layers.1.mlp.down_proj"],"weights":{"num_bits":8,"type":"float","strategy":"channel"},
          "input_activations":{"num_bits":8,"type":"float","strategy":"token","dynamic":true}}}})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(SchemeOf(*config, "model.layers.1.mlp.up_proj"), "W4A16");
  EXPECT_EQ(SchemeOf(*config, "model.layers.0.mlp.down_proj"), "W8A8");
  EXPECT_EQ(SchemeOf(*config, "model.layers.1.mlp.down_proj"), "FP8_DYNAMIC");
}

TEST(QuantizationConfigTest, ReadsPresetGroupsAndKvCacheScheme) {
  auto config = Parse(R"({"quant_method":"compressed-tensors","format":"int-quantized",
    "kv_cache_scheme":{"num_bits":8,"type":"float","strategy":"tensor","dynamic":false,"symmetric":true},
    "config_groups":{"W8A8":["Linear"]}})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(SchemeOf(*config, "a"), "W8A8");
  ASSERT_TRUE(config->kv_cache().has_value());
  EXPECT_EQ(config->kv_cache()->type, QuantType::kFloat);
}

TEST(QuantizationConfigTest, ReadsAutoFp8AndBlockFp8) {
  auto tensor = Parse(R"({"quant_method":"fp8","activation_scheme":"static",
    "ignored_layers":["model.layers.0.mlp.down_proj"],"kv_cache_scheme":"static"})");
  ASSERT_TRUE(tensor.ok()) << tensor.status().ToString();
  EXPECT_EQ(SchemeOf(*tensor, "model.layers.0.mlp.up_proj"), "FP8");
  EXPECT_EQ(SchemeOf(*tensor, "model.layers.0.mlp.down_proj"), "dense");
  EXPECT_EQ(SchemeOf(*tensor, "lm_head"), "dense");
  EXPECT_TRUE(tensor->kv_cache().has_value());
  auto block = Parse(R"({"quant_method":"fp8","activation_scheme":"dynamic","weight_block_size":[128,128]})");
  ASSERT_TRUE(block.ok()) << block.status().ToString();
  EXPECT_EQ(SchemeOf(*block, "x"), "FP8_BLOCK");
}

TEST(QuantizationConfigTest, RefusesByName) {
  const auto message = [](const std::string& json) {
    auto config = Parse(json);
    EXPECT_FALSE(config.ok()) << json;
    return config.status().message();
  };
  EXPECT_THAT(message(R"({"quant_method":"hqq"})"), HasSubstr("'hqq'"));
  EXPECT_THAT(message(R"({"bits":4})"), HasSubstr("'quant_method' is missing"));
  EXPECT_THAT(message(R"({"quant_method":"compressed-tensors","format":"marlin-24"})"),
              HasSubstr("marlin-24"));
  const auto args = [](const std::string& weights) {
    return R"({"quant_method":"compressed-tensors","format":"int-quantized","config_groups":{"g":{"targets":["Linear"],"weights":)" +
           weights + "}}}";
  };
  EXPECT_THAT(message(args(R"({"num_bits":8,"colour":1})")), HasSubstr("config_groups 'g': weights: unknown quantization argument 'colour'"));
  EXPECT_THAT(message(args(R"({"num_bits":6,"type":"float"})")), HasSubstr("6-bit float"));
  EXPECT_THAT(message(args(R"({"num_bits":4,"type":"float"})")), HasSubstr("fp4 sym tensor"));
  EXPECT_THAT(message(args(R"({"num_bits":8,"strategy":"group"})")), HasSubstr("group_size"));
  EXPECT_THAT(message(args(R"({"num_bits":8,"strategy":"token","dynamic":true})")), HasSubstr("weights are"));
  EXPECT_THAT(message(args(R"({"num_bits":8,"strategy":"attn_head"})")), HasSubstr("attn_head"));
  EXPECT_THAT(message(args(R"({"num_bits":4,"group_size":128,"actorder":"group"})")), HasSubstr("g_idx"));
  EXPECT_THAT(message(args(R"({"num_bits":1})")), HasSubstr("1-bit"));
  EXPECT_THAT(message(args(R"([8])")), HasSubstr("want an object"));
  EXPECT_THAT(message(R"({"quant_method":"compressed-tensors","format":"int-quantized","ignore":[3]})"),
              HasSubstr("'ignore'"));
  EXPECT_THAT(message(R"({"quant_method":"octavo_qoq","version":2,"group_size":128})"), HasSubstr("'version'"));
}

TEST(QuantizationConfigTest, ReadsGptqVersionsAndOverrides) {
  const auto config = Parse(
      R"({"quant_method":"gptq","bits":4,"group_size":128,"desc_act":true,"checkpoint_format":"gptq_v2",)"
      R"("dynamic":{"-:.*gate_proj":{},"+:.*down_proj":{"bits":8,"group_size":-1}}})");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(SchemeOf(*config, "model.layers.0.mlp.up_proj"), "GPTQ_V2");
  const auto down = config->Resolve("model.layers.0.mlp.down_proj");
  ASSERT_TRUE(down.ok());
  EXPECT_EQ(down->args.weights.num_bits, 8);
  EXPECT_EQ(down->args.weights.strategy, Strategy::kChannel);
  EXPECT_TRUE(config->dense_by_tensors());
  const auto v1 = Parse(R"({"quant_method":"gptq","bits":3,"group_size":64})");
  ASSERT_TRUE(v1.ok()) << v1.status().ToString();
  EXPECT_EQ(SchemeOf(*v1, "x"), "GPTQ");
}

TEST(QuantizationConfigTest, ReadsAwqInBothSpellings) {
  for (const char* json : {R"({"quant_method":"awq","bits":4,"group_size":64,"version":"gemm"})",
                           R"({"quant_method":"awq","w_bit":4,"q_group_size":64,"version":"GEMM"})"}) {
    const auto config = Parse(json);
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    EXPECT_EQ(config->Resolve("x")->args.weights.group_size, 64);
    EXPECT_EQ(SchemeOf(*config, "x"), "AWQ");
  }
}

TEST(QuantizationConfigTest, RefusesForeignFormsByName) {
  for (const auto& [json, words] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"quant_method":"gptq","group_size":128})", "'bits'"},
           {R"({"quant_method":"gptq","bits":5,"group_size":128})", "5-bit GPTQ"},
           {R"({"quant_method":"gptq","bits":4,"group_size":0})", "'group_size' is 0"},
           {R"({"quant_method":"gptq","bits":4,"checkpoint_format":"marlin"})", "'marlin'"},
           {R"({"quant_method":"gptq","bits":4,"pack_dtype":"int8"})", "int8"},
           {R"({"quant_method":"gptq","bits":4,"dynamic":{"+:(":{"bits":8}}})", "dynamic '+:('"},
           {R"({"quant_method":"awq","bits":8})", "8-bit AWQ"},
           {R"({"quant_method":"awq","bits":4,"version":"gemv"})", "'gemv'"},
           {R"({"quant_method":"bitsandbytes"})", "load_in_8bit"}}) {
    const auto config = Parse(json);
    ASSERT_FALSE(config.ok()) << json;
    EXPECT_THAT(config.status().message(), HasSubstr(words));
  }
}

TEST(QuantizationConfigTest, WritesWhatItReads) {
  for (const Scheme* scheme : AllSchemes()) {
    if (!scheme->writable()) continue;
    Json config;
    config["quantization_config"] = MakeQuantizationConfig(*scheme, scheme->args, {"lm_head"});
    auto parsed = QuantizationConfig::FromModelConfig(config);
    ASSERT_TRUE(parsed.ok()) << scheme->name << ": " << parsed.status().ToString();
    auto resolved = parsed->Resolve("model.layers.0.mlp.up_proj");
    ASSERT_TRUE(resolved.ok());
    EXPECT_EQ(resolved->scheme, scheme);
    EXPECT_EQ(resolved->args, scheme->args);
    EXPECT_EQ(SchemeOf(*parsed, "lm_head"), "dense");
  }
}

TEST(QuantArgsTest, InfersTheStrategyFromTheGroupSize) {
  const auto strategy = [](const char* text) {
    auto args = ParseQuantArgs(*ParseJson(text));
    EXPECT_TRUE(args.ok()) << args.status().ToString();
    return args.ok() ? args->strategy : Strategy::kToken;
  };
  EXPECT_EQ(strategy(R"({"num_bits":8})"), Strategy::kTensor);
  EXPECT_EQ(strategy(R"({"num_bits":8,"group_size":-1})"), Strategy::kChannel);
  EXPECT_EQ(strategy(R"({"num_bits":8,"group_size":64})"), Strategy::kGroup);
}

TEST(QuantArgsTest, ReadsBothSpellingsOfBlocks) {
  for (const char* block : {"[128, 64]", "\"128x64\""}) {
    auto args = ParseQuantArgs(*ParseJson(
        std::string(R"({"type":"float","strategy":"block","block_structure":)") + block + "}"));
    ASSERT_TRUE(args.ok()) << args.status().ToString();
    EXPECT_EQ(args->block_rows, 128);
    EXPECT_EQ(args->block_cols, 64);
  }
  for (const char* block : {"[0,1]", "[1]", "\"x\"", "\"9999999999999999999999x1\"", "3"}) {
    EXPECT_FALSE(ParseQuantArgs(*ParseJson(std::string(R"({"strategy":"block","block_structure":)") +
                                           block + "}")).ok());
  }
}

}  // namespace
}  // namespace octavo
