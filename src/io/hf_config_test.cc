// SPDX-License-Identifier: Apache-2.0
// Both config generations give the same canonical form.
#include "io/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace octavo {
namespace {

using ::testing::HasSubstr;

Json Normalize(const std::string& text) {
  const auto config = NormalizeConfig(ParseJson(text).value());
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  return config.ok() ? *config : Json();
}

std::string ErrorOf(const std::string& text) {
  return NormalizeConfig(ParseJson(text).value()).status().message();
}

TEST(HfConfigTest, BothGenerationsAgreeOnLlama3) {
  const Json v4 = Normalize(R"({"model_type":"llama","torch_dtype":"bfloat16","rope_theta":500000.0,
    "rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
    "original_max_position_embeddings":8192}})");
  const Json v5 = Normalize(R"({"model_type":"llama","dtype":"bfloat16",
    "rope_parameters":{"rope_theta":500000.0,"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
    "high_freq_factor":4.0,"original_max_position_embeddings":8192}})");
  for (const Json& config : {v4, v5}) {
    EXPECT_EQ(config["torch_dtype"], "bfloat16");
    EXPECT_EQ(config["dtype"], "bfloat16");
    EXPECT_EQ(config["rope_theta"], 500000.0);
    EXPECT_FALSE(config.contains("rope_parameters"));
  }
  EXPECT_EQ(v4["rope_scaling"], v5["rope_scaling"]);
  EXPECT_EQ(v4["rope_scaling"]["rope_type"], "llama3");
}

TEST(HfConfigTest, PlainRopeHasNoScaling) {
  for (const char* text : {R"({"rope_theta":1e4,"rope_scaling":null})", R"({"rope_theta":1e4})",
                           R"({"rope_parameters":{"rope_theta":1e4,"rope_type":"default"}})",
                           R"({"rope_theta":1e4,"rope_scaling":{"type":"default"}})"}) {
    const Json config = Normalize(text);
    EXPECT_EQ(config["rope_theta"], 1e4) << text;
    EXPECT_FALSE(config.contains("rope_scaling")) << text;
    EXPECT_FALSE(config.contains("dtype")) << text;
  }
}

TEST(HfConfigTest, TheNewerSpellingWins) {
  const Json config = Normalize(
      R"({"rope_theta":1.0,"rope_parameters":{"rope_theta":2.0},"torch_dtype":"float16","dtype":"torch.float32"})");
  EXPECT_EQ(config["rope_theta"], 2.0);
  EXPECT_EQ(config["torch_dtype"], "float32");
}

TEST(HfConfigTest, LongRopeAliasesAndOriginalLength) {
  const std::string factors = R"("long_factor":[1.0],"short_factor":[1.0])";
  const Json su = Normalize(R"({"model_type":"phi3","original_max_position_embeddings":4096,
    "rope_scaling":{"type":"su",)" +
                            factors + "}}");
  EXPECT_EQ(su["rope_scaling"]["rope_type"], "longrope");
  EXPECT_EQ(su["rope_scaling"]["original_max_position_embeddings"], 4096);
  const Json yarn =
      Normalize(R"({"model_type":"phi3","rope_scaling":{"type":"yarn",)" + factors + "}}");
  EXPECT_EQ(yarn["rope_scaling"]["rope_type"], "longrope");
  const Json v5 =
      Normalize(R"({"model_type":"phi3","rope_parameters":{"rope_type":"longrope","rope_theta":1e4,
    "partial_rotary_factor":0.5,"original_max_position_embeddings":4096,)" +
                factors + "}}");
  EXPECT_EQ(v5["original_max_position_embeddings"], 4096);
  EXPECT_EQ(v5["partial_rotary_factor"], 0.5);
  EXPECT_FALSE(v5["rope_scaling"].contains("partial_rotary_factor"));
}

TEST(HfConfigTest, GemmaKeepsBothRopeBases) {
  const Json config = Normalize(R"({"rope_parameters":{
    "full_attention":{"rope_type":"default","rope_theta":1000000.0},
    "sliding_attention":{"rope_type":"default","rope_theta":10000.0}}})");
  EXPECT_EQ(config["rope_theta"], 1e6);
  EXPECT_EQ(config["rope_local_base_freq"], 1e4);
}

TEST(HfConfigTest, ErrorsNameTheKey) {
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("config is array"));
  EXPECT_THAT(ErrorOf(R"({"dtype":5})"), HasSubstr("'dtype' is number"));
  EXPECT_THAT(ErrorOf(R"({"rope_theta":"a"})"), HasSubstr("'rope_theta' is string"));
  EXPECT_THAT(ErrorOf(R"({"rope_scaling":[1]})"), HasSubstr("'rope_scaling' is array"));
  EXPECT_THAT(ErrorOf(R"({"rope_parameters":{"rope_theta":"a"}})"), HasSubstr("'rope_theta'"));
  EXPECT_THAT(ErrorOf(R"({"rope_parameters":{"full_attention":5}})"), HasSubstr("full_attention"));
  EXPECT_THAT(ErrorOf(R"({"rope_scaling":{"type":5}})"), HasSubstr("'type'"));
}

}  // namespace
}  // namespace octavo
