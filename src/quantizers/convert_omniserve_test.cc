// SPDX-License-Identifier: Apache-2.0
// QoQ checkpoints as omniserve's tensors and back: the same logits, or a refusal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "quantizers/convert_checkpoint.h"
#include "quantizers/quantize_fixture.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ConvertOmniserveTest : public QuantizeFixture {
 protected:
  // llama/plain's layout with columns in whole groups of 128, and random weights in bf16.
  void SetUp() override {
    Json config = *ParseJsonFile(model_.path() + "/config.json");
    config["hidden_size"] = 128;
    config["intermediate_size"] = 256;
    config["num_attention_heads"] = 4;
    config["num_key_value_heads"] = 2;
    config["head_dim"] = 32;
    config["tie_word_embeddings"] = false;
    ASSERT_TRUE(WriteFileAtomically(model_.path() + "/config.json", config.dump()).ok());
    std::vector<TensorSpec> specs = {{"model.embed_tokens.weight", DType::kBF16, Shape{Vocabulary(config), 128}},
                                     {"lm_head.weight", DType::kBF16, Shape{Vocabulary(config), 128}},
                                     {"model.norm.weight", DType::kBF16, Shape{128}}};
    for (int64_t layer = 0; layer < config["num_hidden_layers"].get<int64_t>(); ++layer) {
      const std::string name = "model.layers." + std::to_string(layer) + ".";
      for (const auto& [module, n, k] : {std::tuple<const char*, int64_t, int64_t>{"self_attn.q_proj", 128, 128},
                                         {"self_attn.k_proj", 64, 128},
                                         {"self_attn.v_proj", 64, 128},
                                         {"self_attn.o_proj", 128, 128},
                                         {"mlp.gate_proj", 256, 128},
                                         {"mlp.up_proj", 256, 128},
                                         {"mlp.down_proj", 128, 256}}) {
        specs.push_back({name + module + ".weight", DType::kBF16, Shape{n, k}});
      }
      for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
        specs.push_back({name + norm + ".weight", DType::kBF16, Shape{128}});
      }
    }
    auto writer = SafetensorsWriter::Create(model_.path() + "/model.safetensors", specs, {});
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    std::mt19937 random(3);
    std::normal_distribution<float> weight(0.0f, 0.08f);
    for (const TensorSpec& spec : specs) {
      std::vector<uint16_t> bits;
      const float mean = spec.name.find("norm") == std::string::npos ? 0.0f : 0.7f;
      for (int64_t i = 0; i < spec.shape.NumElements(); ++i) bits.push_back(F32ToBf16(mean + weight(random)));
      ASSERT_TRUE((*writer)->WriteTensor(spec.name, std::as_bytes(std::span(bits))).ok());
    }
    ASSERT_TRUE((*writer)->Finish().ok());
    auto samples = std::make_shared<CalibrationData>(*Samples(4, 32));
    for (auto& sample : samples->samples) {
      for (int32_t& token : sample) token %= 128;
    }
    samples_ = samples;
  }

  static int64_t Vocabulary(const Json& config) { return config["vocab_size"].get<int64_t>(); }

  std::string QuantizeAs(const std::string& scheme, const std::vector<std::string>& transforms, int group_size = 0) {
    QuantizeOptions options = Options(model_, scheme, "qoq");
    if (group_size > 0) options.group_size = group_size;
    EXPECT_TRUE(SetQoqTransforms(transforms, options.qoq).ok());
    Quantize(options);
    return options.output;
  }

  Result<ConvertResult> Convert(const std::string& model, const std::string& to, const std::string& output) {
    ConvertOptions options;
    options.model = model;
    options.to = to;
    options.output = (model_.root() / output).string();
    options.overwrite = true;
    options.threads = 2;
    return ConvertCheckpoint(options);
  }

  std::string Path(const std::string& folder) const { return (model_.root() / folder).string(); }

  TestModel model_{"llama/plain"};
};

TEST_F(ConvertOmniserveTest, LogitsKeepTheirBitsThereAndBack) {
  for (const auto& [scheme, method, tensor] :
       {std::tuple<std::string, std::string, std::string>{"QOQ_G128", "octavo_qoq", ".s2_scales"},
        {"QOQ", "compressed-tensors", ".s1_szeros"},
        {"W8A8", "compressed-tensors", ".dequant_scale"}}) {
    SCOPED_TRACE(scheme);
    const std::string source = QuantizeAs(scheme, {"rotate", "rotate-values"});
    const auto there = Convert(source, "omniserve", "there");
    ASSERT_TRUE(there.ok()) << there.status().ToString();
    EXPECT_EQ(there->moved, 14);
    auto checkpoint = Checkpoint::Open(Path("there"));
    ASSERT_TRUE(checkpoint.ok());
    EXPECT_FALSE((*checkpoint)->config().contains("quantization_config"));
    const StoredTensor* scales = (*checkpoint)->Find("model.layers.1.self_attn.k_proj" + tensor);
    ASSERT_NE(scales, nullptr);
    EXPECT_EQ(scales->dtype, tensor == ".s2_scales" ? DType::kI8 : DType::kF16);
    const std::vector<float> want = Logits(source);
    EXPECT_EQ(Logits(Path("there")), want);
    EXPECT_NE(Logits(model_.path()), want);
    const auto back = Convert(Path("there"), "qoq", "back");
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ(Logits(Path("back")), want);
    const Json config = *ParseJsonFile(Path("back") + "/config.json");
    EXPECT_EQ(config["quantization_config"]["quant_method"], method);
    EXPECT_THAT(Convert(Path("there"), "omniserve", "again").status().message(), HasSubstr("already"));
  }
}

TEST_F(ConvertOmniserveTest, RefusesWhatOmniserveCannotRun) {
  const auto message = [&](const std::string& source, const std::string& to) {
    const auto result = Convert(source, to, "refused");
    EXPECT_FALSE(result.ok());
    EXPECT_FALSE(fs::exists(Path("refused")));
    return result.status().message();
  };
  const std::string plain = QuantizeAs("QOQ", {"none"});
  EXPECT_THAT(message(plain, "omniserve"), HasSubstr("omniserve does not read norms"));
  EXPECT_THAT(message(plain, "qoq"), HasSubstr("takes folders in omniserve's form"));
  EXPECT_THAT(message(QuantizeAs("QOQ_G128", {"rotate"}, 32), "omniserve"), HasSubstr("groups of 32"));
  EXPECT_THAT(message(QuantizeAs("W4A16", {"rotate"}, 32), "omniserve"), HasSubstr("bf16 activations"));
  EXPECT_THAT(message(model_.path(), "omniserve"), HasSubstr("is not quantized"));
  EXPECT_THAT(message(QuantizeAs("W8A8", {"rotate"}), "awq"), HasSubstr("activations, which awq cannot say"));
}

}  // namespace
}  // namespace octavo
