// SPDX-License-Identifier: Apache-2.0
// LLM.int8() from the command line, on a tiny model with injected outliers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "cli/testing.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class LlmInt8CommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "/octavo_llm_int8_" + std::to_string(::getpid());
    const fs::path source = fs::path(OCTAVO_SOURCE_DIR);
    fs::create_directories(root_ + "/model");
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy_file(source / "tests/golden/llama/plain" / name, fs::path(root_) / "model" / name);
    }
    fs::copy_file(source / "tests/fuzz/corpus/tokenizer_json/llama2", root_ + "/model/tokenizer.json");
    text_ = root_ + "/text.txt";
    std::string text;
    for (int i = 0; i < 400; ++i) text += static_cast<char>('a' + i * 7 % 26);
    ASSERT_TRUE(WriteFileAtomically(text_, text).ok());
    const Outcome injected = RunOctavo({"inject-outliers", Path("model"), "-o", Path("outliers"), "--dims", "4",
                                        "--factor", "64", "--json", Path("injected.json")});
    ASSERT_EQ(injected.exit_code, 0) << injected.err;
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }
  Json RunForJson(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--json", "-"});
    const Outcome outcome = RunOctavo(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    auto json = ParseJson(outcome.out);
    EXPECT_TRUE(json.ok()) << outcome.out;
    return json.ok() ? *std::move(json) : Json();
  }

  std::string root_, text_;
};

TEST_F(LlmInt8CommandTest, InjectionReportsItsDimensions) {
  const Json json = ParseJson(ReadFile(Path("injected.json")).value()).value();
  EXPECT_EQ(json["dimensions"].size(), 4u);
  EXPECT_EQ(json["norms"], 4);
  EXPECT_EQ(json["linears"], 10);
  EXPECT_EQ(RunOctavo({"inject-outliers", Path("model")}).exit_code, 2);
  EXPECT_EQ(RunOctavo({"inject-outliers", Path("model"), "-o", Path("outliers")}).exit_code, 1);  // exists
}

TEST_F(LlmInt8CommandTest, TheStudyShowsWhatDecompositionSaves) {
  const Json json =
      RunForJson({"llm-int8-study", Path("outliers"), "--file", text_, "--window", "64", "--max-windows", "2"});
  ASSERT_EQ(json["variants"].size(), 9u);
  EXPECT_EQ(json["windows"], 2);
  const auto distance = [&](size_t variant) {
    return std::abs(json["variants"][variant]["increase_percent"].get<double>());
  };
  EXPECT_EQ(distance(0), 0);
  EXPECT_GT(json["variants"][7]["outlier_share"].get<double>(), 0.005);
  EXPECT_EQ(json["variants"][4]["outlier_share"], 0);
  // Four dimensions 64 times too large take the codes of the others.
  EXPECT_GT(distance(1), 10 * distance(7) + 0.1);
  EXPECT_GT(distance(4), distance(7));
  EXPECT_LT(distance(7), 0.5);
  EXPECT_EQ(RunOctavo({"llm-int8-study", Path("none")}).exit_code, 1);
}

TEST_F(LlmInt8CommandTest, QuantizesAndRunsWithItsThreshold) {
  const Outcome made = RunOctavo({"quantize", Path("outliers"), "--scheme", "LLM_INT8", "--llm-int8-threshold", "5",
                                  "-o", Path("int8")});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json config = ParseJson(ReadFile(Path("int8/config.json")).value()).value()["quantization_config"];
  EXPECT_EQ(config["quant_method"], "bitsandbytes");
  EXPECT_EQ(config["load_in_8bit"], true);
  EXPECT_EQ(config["llm_int8_threshold"], 5.0);
  EXPECT_EQ(config["llm_int8_skip_modules"][0], "lm_head");
  const Json inspected = RunForJson({"inspect", Path("int8")});
  EXPECT_EQ(inspected["linears"][0]["scheme"], "LLM_INT8");
  EXPECT_EQ(inspected["linears"][0]["activation"], "int8");
  EXPECT_THAT(inspected["linears"][0]["note"].get<std::string>(), HasSubstr("from 5 on in 16 bit"));
  // The same numbers as quantizing while loading.
  const auto perplexity = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "perplexity");
    arguments.insert(arguments.end(), {"--file", text_, "--window", "64"});
    return RunForJson(arguments)["perplexity"].get<double>();
  };
  const double stored = perplexity({Path("int8")});
  EXPECT_EQ(perplexity({Path("outliers"), "--quantization", "llm_int8:5"}), stored);
  EXPECT_NE(perplexity({Path("outliers"), "--quantization", "llm_int8:0"}), stored);
}

TEST_F(LlmInt8CommandTest, KeptColumnsBringTheCheckpointCloser) {
  for (const bool keep : {false, true}) {
    std::vector<std::string> arguments = {"quantize", Path("outliers"), "--scheme", "LLM_INT8", "-o",
                                          Path(keep ? "kept" : "all8")};
    if (keep) arguments.push_back("--keep-outlier-columns");
    const Outcome made = RunOctavo(arguments);
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  const auto kl = [&](const std::string& name) {
    return RunForJson({"compare", Path("outliers"), Path(name), "--file", text_, "--window", "64"})
        ["divergence"]["mean_kl"]["value"].get<double>();
  };
  EXPECT_LT(2 * kl("kept"), kl("all8"));
  const Outcome wrong = RunOctavo({"quantize", Path("model"), "--scheme", "W8A8", "--keep-outlier-columns",
                                   "--llm-int8-threshold", "4", "-o", Path("wrong")});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_THAT(wrong.err, HasSubstr("LLM_INT8"));
}

TEST_F(LlmInt8CommandTest, OutliersCanBeZeroed) {
  const Json json = RunForJson({"outliers", Path("outliers"), "--file", text_, "--window", "64", "--zero", "--html",
                                Path("page.html")});
  const Json& zeroed = json["zeroed"];
  ASSERT_GE(zeroed["outliers"].size(), 1u);
  EXPECT_EQ(zeroed["outliers"].size(), zeroed["random"].size());
  EXPECT_EQ(zeroed["without_outliers"].size(), zeroed["outliers"].size() + 1);
  EXPECT_EQ(zeroed["without_outliers"][0], zeroed["without_random"][0]);
  EXPECT_NE(zeroed["without_outliers"][1], zeroed["without_outliers"][0]);
  EXPECT_THAT(ReadFile(Path("page.html")).value(), HasSubstr("Perplexity without them"));
  const Outcome table = RunOctavo({"outliers", Path("outliers"), "--file", text_, "--window", "64", "--zero"});
  EXPECT_THAT(table.out, HasSubstr("perplexity with dimensions zeroed"));
}

}  // namespace
}  // namespace octavo
