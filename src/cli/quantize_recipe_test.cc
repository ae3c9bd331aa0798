// SPDX-License-Identifier: Apache-2.0
// `octavo quantize --recipe` and `--scheme auto` on a tiny random model.
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
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class QuantizeRecipeTest : public ::testing::Test {
 protected:
  void TearDown() override {
    fs::remove_all(output_);
    for (const char* suffix : {".partial", ".sensitivity.json", ".refused.json", ".refused.md",
                               ".refused.html"}) {
      fs::remove_all(output_ + suffix);
    }
  }
  Outcome Quantize(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"quantize", model_.path(), "-o", output_, "--overwrite",
                                         "--threads", "2"});
    return RunOctavo(arguments);
  }
  Outcome Auto(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--num-calibration-samples", "4", "--sensitivity-tokens", "64",
                                         "--group-size", "32", "--json", "-"});
    return Quantize(arguments);
  }
  std::string Recipe(const std::string& content) {
    const std::string path = model_.path() + "/recipe.yaml";
    EXPECT_TRUE(WriteFileAtomically(path, content).ok());
    return path;
  }
  Json Report(const std::string& name) {
    const auto json = ParseJsonFile(output_ + "/" + name);
    EXPECT_TRUE(json.ok()) << json.status().ToString();
    return json.ok() ? *json : Json();
  }

  testing::TinyModel model_;
  const std::string output_ = model_.path() + "_quantized";
};

constexpr const char* kMixed = R"(QuantizationModifier:
  config_groups:
    most: {targets: [Linear], scheme: W8A8}
    mlp: {targets: ['re:.*(gate|up)_proj'], scheme: W4A16, group_size: 32}
)";

TEST_F(QuantizeRecipeTest, RunsARecipeAndKeepsIt) {
  const Outcome outcome = Quantize({"--recipe", Recipe(kMixed), "--certificate",
                                    "--certificate-windows", "1"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("W8A8 ("), HasSubstr("W4A16 (4)")));
  EXPECT_EQ(Report("octavo_quantize.json")["recipe"]["text"], kMixed);
  EXPECT_EQ(Report("octavo_report.json")["recipe"]["shares"].size(), 2u);
  EXPECT_EQ(Report("config.json")["quantization_config"]["format"], "mixed-precision");
  const Outcome generated = RunOctavo({"generate", output_, "-p", "hello", "--max-tokens", "3",
                                       "--threads", "2"});
  EXPECT_EQ(generated.exit_code, 0) << generated.err;
  const Outcome dry = Quantize({"--recipe", Recipe(kMixed), "--dry-run"});
  EXPECT_THAT(dry.out, AllOf(HasSubstr("* W4A16"), HasSubstr("* W8A8"), HasSubstr("All layers in one")));
}

TEST_F(QuantizeRecipeTest, SaysWhatIsWrongWithARecipe) {
  const Outcome typo = Quantize({"--recipe", Recipe("GPTQModifier:\n  scheem: W4A16\n")});
  EXPECT_EQ(typo.exit_code, 1);
  EXPECT_THAT(typo.err, AllOf(HasSubstr("recipe.yaml: line 2"), HasSubstr("scheem")));
  EXPECT_EQ(Quantize({"--recipe", Recipe(kMixed), "--scheme", "W8A8"}).exit_code, 2);
  EXPECT_EQ(Quantize({"--recipe", Recipe(kMixed), "--algorithm", "gptq"}).exit_code, 2);
  EXPECT_EQ(Quantize({}).exit_code, 2);
  EXPECT_FALSE(fs::exists(output_));
}

TEST_F(QuantizeRecipeTest, ChoosesForASize) {
  // Groups of 32 add half a bit to each scheme.
  const Outcome outcome = Auto({"--bits-per-weight", "5.5", "--candidates", "W3A16,W4A16,W8A16"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("auto: "));
  const auto json = ParseJson(outcome.out);
  ASSERT_TRUE(json.ok());
  EXPECT_LE((*json)["bits_per_weight"].get<double>(), 5.5);
  EXPECT_NEAR((*json)["choice"]["bits_per_weight"].get<double>(),
              (*json)["bits_per_weight"].get<double>(), 0.02);
  const Json sensitivity = Report("octavo_sensitivity.json");
  EXPECT_EQ(sensitivity["units"].size(), 8u);
  EXPECT_GT(sensitivity["frontier"].size(), 8u);
  EXPECT_EQ(sensitivity["uniform"].size(), 3u);
  auto markdown = ReadFile(output_ + "/octavo_sensitivity.md");
  ASSERT_TRUE(markdown.ok());
  EXPECT_THAT(*markdown, AllOf(HasSubstr("## Frontier"), HasSubstr("**chosen**")));
  auto svg = ReadFile(output_ + "/octavo_sensitivity.svg");
  ASSERT_TRUE(svg.ok());
  EXPECT_THAT(*svg, AllOf(HasSubstr("xmlns"), HasSubstr("</svg>")));

  // The measurements serve another budget, but no other list of candidates.
  const std::string kept = model_.path() + "/kept.json";
  fs::copy_file(output_ + "/octavo_sensitivity.json", kept);
  const Outcome again = Auto({"--bits-per-weight", "4.5", "--candidates", "W3A16,W4A16,W8A16",
                              "--sensitivity", kept});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(Report("octavo_sensitivity.json")["units"], sensitivity["units"]);
  const Outcome other = Auto({"--bits-per-weight", "4.5", "--candidates", "W4A16,W8A16",
                              "--sensitivity", kept});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, HasSubstr("kept.json: measured for another"));
}

TEST_F(QuantizeRecipeTest, MeasuresOnce) {
  const std::string cache = output_ + ".sensitivity.json";
  const std::string known = "auto: measured before";
  const auto choose = [&](const std::string& bits, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--bits-per-weight", bits, "--candidates", "W3A16,W4A16,W8A16"});
    return Auto(more);
  };
  // A run that stops after measuring (nothing approves it) leaves its measurements, and only these.
  const Outcome refused = choose("4.5", {"--max-kld", "1e-9", "--certificate-windows", "1"});
  ASSERT_EQ(refused.exit_code, 1) << refused.err;
  EXPECT_THAT(refused.err, Not(HasSubstr(known)));
  EXPECT_FALSE(fs::exists(output_));
  ASSERT_TRUE(fs::exists(cache));
  const Json measured = *ParseJsonFile(cache);

  const Outcome again = choose("4.5", {"--resume"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr(known));
  EXPECT_FALSE(fs::exists(cache));
  EXPECT_EQ(Report("octavo_sensitivity.json")["units"], measured["units"]);
  EXPECT_EQ(Report("octavo_sensitivity.json")["mixes"], measured["mixes"]);

  // Another budget for the finished folder; a figure that is doctored there shows where it came from.
  Json doctored = Report("octavo_sensitivity.json");
  doctored["mixes"][0]["kl"] = 0.125;
  ASSERT_TRUE(WriteFileAtomically(output_ + "/octavo_sensitivity.json", DumpJson(doctored)).ok());
  const Outcome other = choose("5.5");
  ASSERT_EQ(other.exit_code, 0) << other.err;
  EXPECT_THAT(other.err, HasSubstr(known));
  EXPECT_EQ(Report("octavo_sensitivity.json")["mixes"][0]["kl"], 0.125);

  // Another text, or a changed model, is measured anew.
  const Outcome text = choose("5.5", {"--max-seq-length", "32"});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.err, Not(HasSubstr(known)));
  fs::last_write_time(model_.path() + "/model.safetensors", fs::file_time_type::clock::now());
  const Outcome model = choose("5.5", {"--max-seq-length", "32"});
  ASSERT_EQ(model.exit_code, 0) << model.err;
  EXPECT_THAT(model.err, Not(HasSubstr(known)));
}

TEST_F(QuantizeRecipeTest, ChoosesForAQuality) {
  const Outcome coarse = Auto({"--scheme", "auto", "--max-kld", "10"});
  ASSERT_EQ(coarse.exit_code, 0) << coarse.err;
  const Outcome fine = Auto({"--scheme", "auto", "--max-kld", "1e-4"});
  ASSERT_TRUE(fine.exit_code == 0) << fine.err;
  const Json a = *ParseJson(coarse.out);
  const Json b = *ParseJson(fine.out);
  EXPECT_LE(b["choice"]["measured_kl"].get<double>(), 1e-4);
  EXPECT_LE(b["quality"]["divergence"]["mean_kl"]["value"].get<double>(), 1e-4);
  EXPECT_GT(b["choice"]["bits_per_weight"].get<double>(), a["choice"]["bits_per_weight"].get<double>());
}

TEST_F(QuantizeRecipeTest, RefusesBudgetsThatCannotBeKept) {
  const Outcome small = Auto({"--bits-per-weight", "2"});
  EXPECT_EQ(small.exit_code, 1);
  EXPECT_THAT(small.err, HasSubstr("the smallest choice of these candidates has"));
  EXPECT_THAT(Auto({"--scheme", "auto"}).err, HasSubstr("--bits-per-weight or --max-kld"));
  EXPECT_EQ(Quantize({"--scheme", "W8A8", "--bits-per-weight", "5"}).exit_code, 2);
  EXPECT_THAT(Auto({"--bits-per-weight", "5", "--candidates", "W4A17"}).err, HasSubstr("W4A17"));
  EXPECT_FALSE(fs::exists(output_));
}

}  // namespace
}  // namespace octavo
