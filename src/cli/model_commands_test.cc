// SPDX-License-Identifier: Apache-2.0
// Commands that look at models, on the small ones in tests/golden.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "base/json.h"
#include "cli/testing.h"
#include "io/safetensors_reader.h"
#include "kernels/gemm/gemm.h"
#include "models/model.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

using ::testing::HasSubstr;

const std::string kGolden = OCTAVO_SOURCE_DIR "/tests/golden/";

Json RunForJson(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--json", "-"});
  const Outcome outcome = RunOctavo(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  auto json = ParseJson(outcome.out);
  EXPECT_TRUE(json.ok()) << outcome.out;
  return json.ok() ? *std::move(json) : Json();
}

TEST(ListCommandTest, PrintsTheWholeRegistries) {
  EXPECT_EQ(RunForJson({"list", "archs"}).size(), AllArchs().size());
  EXPECT_EQ(RunForJson({"list", "schemes"}).size(), AllSchemes().size());
  EXPECT_GT(RunForJson({"list", "kernels"}).size(), AllGemmKernels().size());
  EXPECT_EQ(RunOctavo({"list", "models"}).exit_code, 2);
}

TEST(InspectCommandTest, DescribesEveryLinearOfAModel) {
  const Json json = RunForJson({"inspect", kGolden + "llama/plain"});
  EXPECT_EQ(json["architecture"], "LlamaForCausalLM");
  EXPECT_EQ(json["quantization"], "none");
  EXPECT_EQ(json["linears"].size(), 2u * 7 + 1);  // two layers and lm_head
  EXPECT_EQ(json["linears"].back()["module"], "lm_head");
  EXPECT_EQ(json["linears"][0]["bits_per_weight"], 32.0);
}

TEST(InspectCommandTest, ShowsTheOnlineSchemeAndTheTiedHead) {
  const Json json = RunForJson({"inspect", kGolden + "qwen2/tied", "--quantization", "int8"});
  EXPECT_EQ(json["linears"][0]["scheme"], "W8A8");
  EXPECT_EQ(json["linears"][0]["activation"], "int8");
  EXPECT_EQ(json["linears"].back()["module"], "lm_head (tied)");
  EXPECT_EQ(json["linears"].back()["scheme"], "dense");
}

TEST(InspectCommandTest, ListsTheTensorsOfASingleFile) {
  const Json json = RunForJson({"inspect", kGolden + "llama/plain/expected.safetensors"});
  EXPECT_EQ(json["tensors"].size(), 2u);
  EXPECT_EQ(json["totals"]["elements"], 40 + 40 * 160);
}

TEST(InspectCommandTest, MissingModelIsAnError) {
  const Outcome outcome = RunOctavo({"inspect", "/nosuchmodel"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/nosuchmodel"));
}

TEST(LogitsCommandTest, WritesOneRowPerToken) {
  const std::string path = ::testing::TempDir() + "/logits_command_test.safetensors";
  const Outcome outcome =
      RunOctavo({"logits", kGolden + "opt/pre_norm", "--prompt-ids", "5,6,7", "-o", path});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto file = SafetensorsReader::Open(path);
  ASSERT_TRUE(file.ok());
  ASSERT_NE(file->Find("logits"), nullptr);
  EXPECT_EQ(file->Find("logits")->shape, (Shape{3, 160}));
  std::remove(path.c_str());
}

TEST(LogitsCommandTest, RefusesIdsThatAreNoneOrOutsideTheVocabulary) {
  const std::string model = kGolden + "opt/pre_norm";
  const std::string path = ::testing::TempDir() + "/logits_command_test2.safetensors";
  EXPECT_EQ(RunOctavo({"logits", model, "--prompt-ids", "1,x", "-o", path}).exit_code, 2);
  EXPECT_EQ(RunOctavo({"logits", model, "--prompt-ids", "", "-o", path}).exit_code, 2);
  const Outcome outside = RunOctavo({"logits", model, "--prompt-ids", "160", "-o", path});
  EXPECT_EQ(outside.exit_code, 1);
  EXPECT_THAT(outside.err, HasSubstr("160"));
  EXPECT_EQ(std::fopen(path.c_str(), "r"), nullptr) << "a failed run left a file";
}

}  // namespace
}  // namespace octavo
