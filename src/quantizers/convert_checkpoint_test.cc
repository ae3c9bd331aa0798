// SPDX-License-Identifier: Apache-2.0
// Conversions of a tiny quantized model, there and back; what a form cannot say is refused. The bytes are
// compared with other libraries in tests/interop/checkpoint_forms.py.
#include "quantizers/convert_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "quantizers/quantize_checkpoint.h"
#include "schemes/int_rows.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ConvertCheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("octavo_convert_" + std::to_string(::getpid()));
    fs::create_directories(root_ / "model");
    const fs::path golden = fs::path(OCTAVO_SOURCE_DIR) / "tests/golden/llama/plain";
    fs::copy_file(golden / "config.json", root_ / "model/config.json");
    fs::copy_file(fs::path(OCTAVO_SOURCE_DIR) / "tests/fuzz/corpus/tokenizer_json/llama2",
                  root_ / "model/tokenizer.json");
    WriteBf16(golden.string());
  }
  void TearDown() override { fs::remove_all(root_); }

  // The golden model is f32; scales of its bf16 rounding are half floats too.
  void WriteBf16(const std::string& golden) {
    auto checkpoint = Checkpoint::Open(golden);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    std::vector<TensorSpec> specs;
    for (const StoredTensor& t : (*checkpoint)->tensors()) specs.push_back({t.name, DType::kBF16, t.shape});
    auto writer = SafetensorsWriter::Create((root_ / "model/model.safetensors").string(), specs, {});
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    for (const StoredTensor& t : (*checkpoint)->tensors()) {
      std::vector<uint16_t> values(static_cast<size_t>(t.shape.NumElements()));
      ASSERT_TRUE((*checkpoint)->ReadRowsBf16(t, 0, t.rows(), values.data()).ok());
      ASSERT_TRUE((*writer)->WriteTensor(t.name, std::as_bytes(std::span(values))).ok());
    }
    ASSERT_TRUE((*writer)->Finish().ok());
  }

  std::string Quantize(const std::string& scheme) {
    QuantizeOptions options;
    options.model = (root_ / "model").string();
    options.output = (root_ / scheme).string();
    options.scheme = scheme;
    options.threads = 2;
    const auto result = QuantizeCheckpoint(options);
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    return options.output;
  }

  Result<ConvertResult> Convert(const std::string& model, const std::string& to, const std::string& output) {
    ConvertOptions options;
    options.model = model;
    options.to = to;
    options.output = (root_ / output).string();
    options.threads = 2;
    return ConvertCheckpoint(options);
  }

  IntRows Rows(const std::string& model) {
    IntRows rows;
    auto checkpoint = Checkpoint::Open((root_ / model).string());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    auto loader = LinearLoader::Create(**checkpoint);
    EXPECT_TRUE(loader.ok()) << loader.status().ToString();
    auto source = loader->OpenLinear("model.layers.1.self_attn.q_proj");
    EXPECT_TRUE(source.ok()) << source.status().ToString();
    WeightRows scratch;
    EXPECT_TRUE(ReadIntRows(**source, 0, (*source)->spec().n, scratch, rows).ok());
    return rows;
  }

  fs::path root_;
};

TEST_F(ConvertCheckpointTest, CodesZerosAndScalesArriveUnchanged) {
  for (const std::string scheme : {"W4A16", "W4A16_ASYM"}) {
    const std::string source = Quantize(scheme);
    const IntRows want = Rows(scheme);
    for (const std::string to : {"gptq", "awq"}) {
      const std::string name = scheme + "_" + to;
      const auto result = Convert(source, to, name);
      ASSERT_TRUE(result.ok()) << result.status().ToString();
      EXPECT_EQ(result->rounded, 0);
      EXPECT_GT(result->moved, 0);
      const auto back = Convert((root_ / name).string(), "compressed-tensors", name + "_back");
      ASSERT_TRUE(back.ok()) << back.status().ToString();
      EXPECT_TRUE(fs::exists(root_ / name / "tokenizer.json"));
      for (const std::string& form : {name, name + "_back"}) {
        const IntRows have = Rows(form);
        EXPECT_EQ(have.codes, want.codes) << form;
        EXPECT_EQ(have.zeros, want.zeros) << form;
        EXPECT_EQ(have.scales, want.scales) << form;
      }
    }
  }
  const auto config = ParseJsonFile((root_ / "W4A16_gptq/config.json").string());
  EXPECT_EQ((*config)["quantization_config"]["checkpoint_format"], "gptq");
  const auto asym = ParseJsonFile((root_ / "W4A16_ASYM_gptq/config.json").string());
  EXPECT_EQ((*asym)["quantization_config"]["checkpoint_format"], "gptq_v2");
}

TEST_F(ConvertCheckpointTest, GgufHoldsTheSameWeights) {
  const std::string source = Quantize("W4A16");
  const auto result = Convert(source, "gguf-q4_0", "model.gguf");
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const IntRows want = Rows("W4A16");
  const IntRows have = Rows("model.gguf");
  EXPECT_EQ(have.codes, want.codes);
  const auto rounded = Convert((root_ / "model").string(), "gguf-q8_0", "q8.gguf");
  ASSERT_TRUE(rounded.ok()) << rounded.status().ToString();
  EXPECT_GT(rounded->rounded, 0);
  EXPECT_EQ(Convert(source, "gguf-q4_0", "model.gguf").status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(ConvertCheckpointTest, RefusesWhatAFormCannotSay) {
  const auto message = [&](const std::string& model, const std::string& to) {
    const auto result = Convert(model, to, "out");
    EXPECT_FALSE(result.ok()) << model << " " << to;
    EXPECT_FALSE(fs::exists(root_ / "out"));
    return result.status().message();
  };
  const std::string model = (root_ / "model").string();
  EXPECT_THAT(message(model, "gptq"), HasSubstr("is not quantized"));
  EXPECT_THAT(message(model, "exl2"), HasSubstr("want one of gptq"));
  EXPECT_THAT(message(Quantize("W4A16_ASYM"), "gguf-q4_0"), HasSubstr("has zero points"));
  EXPECT_THAT(message(Quantize("W8A8"), "gptq"), HasSubstr("activations, which gptq cannot say"));
  EXPECT_THAT(message(Quantize("FP8_DYNAMIC"), "gguf-q8_0"), HasSubstr("no integers"));
  EXPECT_THAT(message(Quantize("W8A16"), "awq"), HasSubstr("AWQ stores 4 bits"));
  EXPECT_THAT(message((root_ / "W8A16").string(), "compressed-tensors"), HasSubstr("already"));
}

}  // namespace
}  // namespace octavo
