// SPDX-License-Identifier: Apache-2.0
// `--to fp8`: the same codes and scales under other names, and the same logits. The golden models are too
// narrow for blocks of 128: those are in tests/interop/checkpoint_forms.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "quantizers/convert_checkpoint.h"
#include "quantizers/quantize_fixture.h"
#include "schemes/quantization_config.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ConvertFp8Test : public QuantizeFixture {
 protected:
  static Result<ConvertResult> Convert(const std::string& model, const std::string& output) {
    return ConvertCheckpoint({.model = model, .output = output, .to = "fp8", .threads = 2});
  }

  static std::vector<std::byte> Bytes(const Checkpoint& checkpoint, const std::string& name) {
    const StoredTensor* tensor = checkpoint.Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    if (tensor == nullptr) return {};
    std::vector<std::byte> bytes(tensor->bytes);
    EXPECT_TRUE(checkpoint.ReadBytes(*tensor, bytes.data()).ok());
    return bytes;
  }

  static std::vector<float> Floats(const Checkpoint& checkpoint, const std::string& name) {
    const StoredTensor* tensor = checkpoint.Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    if (tensor == nullptr) return {};
    std::vector<float> values(static_cast<size_t>(tensor->shape.NumElements()));
    EXPECT_TRUE(checkpoint.ReadRowsF32(*tensor, 0, tensor->rows(), values.data()).ok());
    return values;
  }
};

TEST_F(ConvertFp8Test, KeepsCodesScalesAndLogits) {
  for (const std::string name : {"llama/plain", "qwen2/tied", "opt/pre_norm", "mixtral/four_experts"}) {
    SCOPED_TRACE(name);
    const TestModel model(name);
    const QuantizeOptions options = Options(model, "FP8");
    Quantize(options);
    const std::string output = (model.root() / "fp8").string();
    const auto result = Convert(options.output, output);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    EXPECT_EQ(Logits(output), Logits(options.output));

    const auto from = Checkpoint::Open(options.output).value();
    const auto to = Checkpoint::Open(output).value();
    const Json config = to->config()["quantization_config"];
    EXPECT_EQ(config["quant_method"], "fp8");
    EXPECT_EQ(config["activation_scheme"], "static");
    int modules = 0;
    for (const StoredTensor& tensor : from->tensors()) {
      if (tensor.dtype != DType::kF8E4M3) continue;
      ++modules;
      EXPECT_EQ(Bytes(*from, tensor.name), Bytes(*to, tensor.name)) << tensor.name;
      const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
      for (const std::string& scale : {module + ".weight_scale", module + ".input_scale"}) {
        EXPECT_EQ(Floats(*from, scale), Floats(*to, scale));
        EXPECT_EQ(to->Find(scale)->dtype, DType::kF32);
        EXPECT_EQ(to->Find(scale)->shape.rank(), 0);
      }
    }
    EXPECT_GT(modules, 0);
    EXPECT_EQ(modules, result->moved);
  }
}

TEST_F(ConvertFp8Test, SaysThatTheCacheHasScales) {
  const TestModel model("llama/plain");
  QuantizeOptions options = Options(model, "FP8");
  options.kv_cache_scheme = "fp8";
  Quantize(options);
  const std::string output = (model.root() / "fp8").string();
  ASSERT_TRUE(Convert(options.output, output).ok());
  const auto to = Checkpoint::Open(output).value();
  EXPECT_EQ(to->config()["quantization_config"]["kv_cache_scheme"], "static");
  EXPECT_TRUE(QuantizationConfig::FromCheckpoint(*to)->kv_cache().has_value());
  const auto from = Checkpoint::Open(options.output).value();
  const std::string scale = "model.layers.1.self_attn.v_scale";
  EXPECT_EQ(Floats(*from, scale), Floats(*to, scale));
}

TEST_F(ConvertFp8Test, RefusesWhatItCannotSay) {
  const TestModel model("llama/plain");
  const auto refusal = [&](const std::string& scheme) {
    const QuantizeOptions options = Options(model, scheme);
    Quantize(options);
    const std::string output = (model.root() / "fp8").string();
    const auto result = Convert(options.output, output);
    EXPECT_EQ(result.status().code(), StatusCode::kFailedPrecondition);
    EXPECT_FALSE(fs::exists(output));
    return result.status().message();
  };
  EXPECT_THAT(refusal("FP8_DYNAMIC"), HasSubstr("one scale per row"));
  EXPECT_THAT(refusal("W8A8"), HasSubstr("are no FP8"));
  const QuantizeOptions options = Options(model, "FP8");
  Quantize(options);
  const std::string output = (model.root() / "fp8").string();
  ASSERT_TRUE(Convert(options.output, output).ok());
  EXPECT_THAT(Convert(output, output + "_again").status().message(), HasSubstr("already"));
}

}  // namespace
}  // namespace octavo
