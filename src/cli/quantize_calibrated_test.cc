// SPDX-License-Identifier: Apache-2.0
// `octavo quantize --algorithm` on a tiny random model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/testing.h"
#include "engine/tiny_model.h"
#include "io/checkpoint.h"
#include "io/safetensors_reader.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class QuantizeCalibratedTest : public ::testing::Test {
 protected:
  void TearDown() override {
    fs::remove_all(output_);
    fs::remove_all(output_ + ".partial");
  }
  Outcome Quantize(std::vector<std::string> arguments, const std::string& model = "") {
    arguments.insert(arguments.begin(), {"quantize", model.empty() ? model_.path() : model, "-o",
                                         output_, "--overwrite",
                                         "--threads", "2", "--num-calibration-samples", "8",
                                         "--max-seq-length", "64"});
    return RunOctavo(arguments);
  }
  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = model_.path() + "/" + name;
    EXPECT_TRUE(WriteFileAtomically(path, content).ok());
    return path;
  }

  testing::TinyModel model_;
  const std::string output_ = model_.path() + "_quantized";
};

TEST_F(QuantizeCalibratedTest, CalibratesOnTheBuiltInText) {
  const Outcome outcome = Quantize({"--scheme", "W4A16", "--group-size", "32", "--algorithm", "gptq",
                                    "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("8 samples, 512 tokens, built-in"));
  const auto json = ParseJson(outcome.out);
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["algorithm"], "gptq");
  EXPECT_EQ((*json)["calibration"]["layers"].size(), 2u);
  const auto report = ParseJsonFile(output_ + "/octavo_quantize.json");
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_EQ((*report)["calibration"], (*json)["calibration"]);
  const Outcome generated = RunOctavo({"generate", output_, "-p", "hello", "--max-tokens", "3",
                                       "--threads", "2"});
  EXPECT_EQ(generated.exit_code, 0) << generated.err;
}

TEST_F(QuantizeCalibratedTest, QoqRunsWithAFourBitCache) {
  EXPECT_EQ(Quantize({"--scheme", "QOQ", "--algorithm", "qoq", "--qoq-transforms", "spin"}).exit_code, 2);
  for (const std::string scheme : {"QOQ_G128", "QOQ"}) {
    SCOPED_TRACE(scheme);
    std::vector<std::string> arguments = {"--scheme", scheme, "--algorithm", "qoq", "--qoq-transforms",
                                          "rotate,smooth-attention,gptq"};
    if (scheme == "QOQ_G128") arguments.insert(arguments.end(), {"--group-size", "32"});
    const Outcome outcome = Quantize(arguments);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto report = ParseJsonFile(output_ + "/octavo_quantize.json");
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    EXPECT_EQ((*report)["qoq"]["transforms"].size(), 3u);
    EXPECT_TRUE((*report)["qoq"]["value_rotation"].is_null());
    const Outcome generated = RunOctavo({"generate", output_, "-p", "hello", "--max-tokens", "3",
                                         "--kv-cache-dtype", "int4", "--threads", "2"});
    EXPECT_EQ(generated.exit_code, 0) << generated.err;
  }
}

TEST_F(QuantizeCalibratedTest, InspectShowsTheScalesOfActivationsAndCache) {
  const Outcome outcome = Quantize({"--scheme", "FP8", "--kv-cache-scheme", "fp8"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto config = ParseJsonFile(output_ + "/config.json");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ((*config)["quantization_config"]["kv_cache_scheme"]["num_bits"], 8);
  const Outcome inspected = RunOctavo({"inspect", output_, "--json", "-"});
  ASSERT_EQ(inspected.exit_code, 0) << inspected.err;
  const Json scales = (*ParseJson(inspected.out))["static_scales"];
  ASSERT_EQ(scales.size(), 2u * (7 + 2));
  // What is shown is what is stored.
  auto checkpoint = Checkpoint::Open(output_);
  ASSERT_TRUE(checkpoint.ok());
  for (const Json& scale : scales) {
    const StoredTensor* tensor = (*checkpoint)->Find(scale["name"].get<std::string>());
    ASSERT_NE(tensor, nullptr) << scale;
    float stored = 0;
    ASSERT_TRUE((*checkpoint)->ReadRowsF32(*tensor, 0, 1, &stored).ok());
    EXPECT_EQ(scale["value"].get<float>(), stored) << scale;
    EXPECT_NE(stored, 1.0f) << scale;
  }
  EXPECT_THAT(RunOctavo({"inspect", output_}).out,
              AllOf(HasSubstr("2  model.layers.*.self_attn.k_scale"),
                    HasSubstr("2  model.layers.*.mlp.down_proj.input_scale")));
  EXPECT_THAT(RunOctavo({"inspect", output_, "--layers"}).out,
              HasSubstr("model.layers.1.self_attn.v_scale"));
  EXPECT_THAT(RunOctavo({"inspect", model_.path()}).out, Not(HasSubstr("static scales")));
  // The cache is FP8 unless told otherwise.
  const Outcome generated = RunOctavo({"generate", output_, "-p", "hello", "--max-tokens", "3",
                                       "--threads", "2"});
  EXPECT_EQ(generated.exit_code, 0) << generated.err;
  EXPECT_EQ(Quantize({"--scheme", "FP8", "--kv-cache-scheme", "int8"}).exit_code, 2);
}

TEST_F(QuantizeCalibratedTest, TokenIdsAreWhatTheTokenizerWouldMake) {
  const auto quantize = [&](const std::string& data) {
    const Outcome outcome = Quantize({"--scheme", "W4A16", "--group-size", "32", "--algorithm",
                                      "gptq", "--calibration-data", data});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return Sha256OfFile(output_ + "/model.safetensors").value();
  };
  const std::string ids = Write("ids.jsonl", "{\"token_ids\": [104, 101, 108, 108, 111]}\n");
  EXPECT_EQ(quantize(ids), quantize(Write("text.jsonl", "{\"text\": \"hello\"}\n")));
  const std::string others = Write("others.jsonl", "{\"token_ids\": [1, 2, 3, 4, 5]}\n");
  EXPECT_NE(quantize(ids), quantize(others));
}

// A GGUF's matrices are rounded to bf16 first, as import does. Its embeddings are read exactly, so what
// depends on activations differs a little from what the imported folder gives.
TEST_F(QuantizeCalibratedTest, CalibratesFromAGguf) {
  const std::string gguf = model_.path() + "/q8.gguf";
  const std::string folder = model_.path() + "/imported";
  ASSERT_EQ(RunOctavo({"convert", model_.path(), "--to", "gguf-q8_0", "-o", gguf}).exit_code, 0);
  ASSERT_EQ(RunOctavo({"import", gguf, "-o", folder}).exit_code, 0);
  const std::vector<std::vector<std::string>> recipes = {
      {"--scheme", "W4A16", "--group-size", "32", "--algorithm", "gptq"},
      {"--scheme", "W4A16_ASYM", "--group-size", "32", "--algorithm", "awq"},
      {"--scheme", "W8A8", "--algorithm", "smoothquant+gptq"},
      {"--scheme", "FP8", "--kv-cache-scheme", "fp8"},
      {"--scheme", "QOQ_G128", "--group-size", "32", "--algorithm", "qoq"}};
  for (const std::vector<std::string>& recipe : recipes) {
    SCOPED_TRACE(recipe[1]);
    std::map<std::string, std::vector<std::byte>> tensors[2];
    for (const bool from_gguf : {false, true}) {
      const Outcome outcome = Quantize(recipe, from_gguf ? gguf : folder);
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      auto file = SafetensorsReader::Open(output_ + "/model.safetensors");
      ASSERT_TRUE(file.ok()) << file.status().ToString();
      for (const SafetensorsEntry& entry : file->tensors()) {
        const auto* data = static_cast<const std::byte*>(file->View(entry).data());
        tensors[from_gguf][entry.name].assign(data, data + entry.bytes);
      }
      const Outcome generated = RunOctavo({"generate", output_, "-p", "hello", "--max-tokens", "3",
                                           "--threads", "2"});
      EXPECT_EQ(generated.exit_code, 0) << generated.err;
    }
    ASSERT_EQ(tensors[0].size(), tensors[1].size());
    for (const auto& [name, bytes] : tensors[0]) {
      ASSERT_EQ(tensors[1][name].size(), bytes.size()) << name;
      if (recipe[1] == "FP8" && name.ends_with(".weight")) {
        EXPECT_TRUE(tensors[1][name] == bytes) << name;  // does not depend on activations
      }
    }
  }
}

TEST_F(QuantizeCalibratedTest, SaysWhatIsWrongWithTheData) {
  const auto error = [&](const std::string& path) {
    const Outcome outcome = Quantize({"--scheme", "W4A16", "--algorithm", "awq", "--group-size", "32",
                                      "--calibration-data", path});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_FALSE(fs::exists(output_));
    return outcome.err;
  };
  EXPECT_THAT(error(Write("empty.jsonl", "")), HasSubstr("no text to calibrate with"));
  Write("tokenizer_config.json", "{}");
  EXPECT_THAT(error(Write("chat.jsonl", "{\"messages\": []}")), HasSubstr("no chat template"));
  EXPECT_THAT(error("/nowhere.txt"), HasSubstr("/nowhere.txt"));
}

TEST_F(QuantizeCalibratedTest, RefusesAlgorithmsThatDoNotFit) {
  EXPECT_EQ(Quantize({"--scheme", "W4A16", "--algorithm", "magic"}).exit_code, 2);
  const Outcome outcome = Quantize({"--scheme", "FP8_DYNAMIC", "--algorithm", "gptq"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("integer weights"));
}

}  // namespace
}  // namespace octavo
