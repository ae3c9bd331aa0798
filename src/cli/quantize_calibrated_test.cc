// SPDX-License-Identifier: Apache-2.0
// `octavo quantize --algorithm` on a tiny random model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "cli/testing.h"
#include "engine/tiny_model.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class QuantizeCalibratedTest : public ::testing::Test {
 protected:
  void TearDown() override {
    fs::remove_all(output_);
    fs::remove_all(output_ + ".partial");
  }
  Outcome Quantize(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"quantize", model_.path(), "-o", output_, "--overwrite",
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
