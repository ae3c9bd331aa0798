// SPDX-License-Identifier: Apache-2.0
// compare, and the certificate of quantize, end to end on a tiny random model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <fstream>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/testing.h"
#include "engine/tiny_model.h"
#include "io/checkpoint.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class CompareCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = model_.path() + "_out";
    fs::create_directories(root_);
    text_ = Write("text.txt", std::string(300, 'a') + "<script>alert(1)</script> & more of it, " +
                                  std::string(200, 'b'));
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string Write(const std::string& name, const std::string& content) const {
    const std::string path = root_ + "/" + name;
    EXPECT_TRUE(WriteFileAtomically(path, content).ok());
    return path;
  }
  Outcome Compare(const std::string& a, const std::string& b,
                  std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"compare", a, b, "--file", text_, "--window", "128", "--threads", "2"});
    return RunOctavo(more);
  }
  // Quantizes to `name` in W4A16 with a certificate on the text.
  Outcome Quantize(const std::string& name, std::vector<std::string> more = {}) const {
    more.insert(more.begin(),
                {"quantize", model_.path(), "--scheme", "W4A16", "-o", root_ + "/" + name,
                 "--certificate", "--certificate-windows", "1", "--threads", "2"});
    return RunOctavo(more);
  }
  Json ReadJson(const std::string& name) const {
    auto json = ParseJsonFile(root_ + "/" + name);
    EXPECT_TRUE(json.ok()) << json.status().ToString();
    return json.ok() ? *std::move(json) : Json();
  }

  testing::TinyModel model_;
  std::string root_;
  std::string text_;
};

TEST_F(CompareCommandTest, AModelEqualsItself) {
  const Outcome outcome = Compare(model_.path(), model_.path(), {"--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json json = ParseJson(outcome.out).value();
  EXPECT_EQ(json["divergence"]["mean_kl"]["value"], 0.0);
  EXPECT_EQ(json["divergence"]["top1_agreement"]["value"], 1.0);
  EXPECT_EQ(json["divergence"]["positions"], 4 * 127);
  EXPECT_EQ(json["perplexity"]["delta"]["value"], 0.0);
}

TEST_F(CompareCommandTest, AGgufFileIsJudgedByTheActivationsItRunsWith) {
  const std::string gguf = root_ + "/q8.gguf";
  ASSERT_EQ(RunOctavo({"convert", model_.path(), "--to", "gguf-q8_0", "-o", gguf}).exit_code, 0);
  const auto mean_kl = [&](std::vector<std::string> flags) {
    flags.insert(flags.end(), {"--json", "-"});
    const Outcome outcome = Compare(gguf, gguf, flags);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return ParseJson(outcome.out).value()["divergence"]["mean_kl"]["value"].get<double>();
  };
  EXPECT_EQ(mean_kl({"--gguf-activations", "16bit"}), 0.0);
  EXPECT_GT(mean_kl({}), 0.0);
}

TEST_F(CompareCommandTest, FewerBitsOfKvCacheCostMore) {
  double last = 0;
  for (const std::string name : {"fp8", "int4"}) {
    const Outcome outcome =
        Compare(model_.path(), model_.path(), {"--kv-cache-dtype", name, "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json json = ParseJson(outcome.out).value();
    EXPECT_EQ(json["other"]["kv_cache_dtype"], name);
    const double kl = json["divergence"]["mean_kl"]["value"];
    EXPECT_GT(kl, last) << name;
    last = kl;
  }
  const Outcome unknown = Compare(model_.path(), model_.path(), {"--kv-cache-dtype", "int2"});
  EXPECT_NE(unknown.exit_code, 0);
  EXPECT_THAT(unknown.err, HasSubstr("int2"));
}

TEST_F(CompareCommandTest, PerplexityIsThatOfThePerplexityCommand) {
  const Outcome compared = Compare(model_.path(), model_.path(), {"--quantization", "int8", "--json", "-"});
  const Outcome alone = RunOctavo({"perplexity", model_.path(), "--quantization", "int8", "--file", text_,
                                   "--window", "128", "--json", "-"});
  ASSERT_EQ(compared.exit_code, 0) << compared.err;
  ASSERT_EQ(alone.exit_code, 0) << alone.err;
  // The same log-probabilities, added in another order.
  EXPECT_NEAR(ParseJson(compared.out).value()["perplexity"]["other"]["value"].get<double>(),
              ParseJson(alone.out).value()["perplexity"].get<double>(), 1e-9);
}

TEST_F(CompareCommandTest, WritesAPageThatRunsNothing) {
  const std::string html = root_ + "/page.html";
  const Outcome outcome = Compare(model_.path(), model_.path(),
                                  {"--quantization", "w4a16", "--html", html, "--md", root_ + "/page.md"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("KL divergence, mean"));
  const std::string page = ReadFile(html).value();
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("http://")));
  EXPECT_THAT(page, Not(HasSubstr("https://")));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, HasSubstr("Worst tokens"));
  EXPECT_THAT(ReadFile(root_ + "/page.md").value(), HasSubstr("| model.layers.1.mlp.down_proj | W4A16 |"));
}

TEST_F(CompareCommandTest, RefusesTextsWithoutAWindow) {
  text_ = Write("empty.txt", "");
  EXPECT_THAT(Compare(model_.path(), model_.path()).err, HasSubstr("0 tokens, want at least one window"));
  text_ = Write("short.txt", "too short");
  EXPECT_THAT(Compare(model_.path(), model_.path()).err, HasSubstr("9 tokens, want at least one window"));
  text_ = root_ + "/nosuchfile";
  EXPECT_THAT(Compare(model_.path(), model_.path()).err, HasSubstr("nosuchfile"));
}

TEST_F(CompareCommandTest, RefusesOtherVocabularies) {
  const std::string other = root_ + "/other";
  fs::copy(model_.path(), other);
  Json tokenizer = ParseJsonFile(other + "/tokenizer.json").value();
  tokenizer["added_tokens"][1]["content"] = "</t>";
  ASSERT_TRUE(WriteFileAtomically(other + "/tokenizer.json", DumpJson(tokenizer)).ok());
  const Outcome outcome = Compare(model_.path(), other);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("token 257 is '</s>' in the first and '</t>' in the second"));
}

TEST_F(CompareCommandTest, CertificateLiesBesideTheCheckpoint) {
  const Outcome outcome = Quantize("good");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json report = ReadJson("good/octavo_report.json");
  EXPECT_EQ(report["recipe"]["scheme"], "W4A16");
  EXPECT_EQ(report["other"]["path"], root_ + "/good");
  EXPECT_EQ(report["text"]["name"], "built-in");
  EXPECT_GT(report["divergence"]["mean_kl"]["value"], 0.0);
  EXPECT_EQ(report["linears"].size(), 14u);
  bool weights = false;
  for (const Json& file : report["files"]) {
    const std::string path = root_ + "/good/" + file["name"].get<std::string>();
    EXPECT_EQ(file["sha256"], Sha256OfFile(path).value()) << path;
    EXPECT_EQ(file["bytes"], fs::file_size(path));
    weights |= file["name"] == "model.safetensors";
  }
  EXPECT_TRUE(weights);
  EXPECT_TRUE(fs::exists(root_ + "/good/octavo_report.html"));
  EXPECT_TRUE(fs::exists(root_ + "/good/octavo_report.md"));
}

TEST_F(CompareCommandTest, SmoothedMatricesHaveNoErrorOfTheirOwn) {
  const auto transformed = [](const Json& report) {
    std::map<std::string, bool> modules;
    for (const Json& row : report["linears"]) {
      modules[row["module"]] = row["transformed"];
      for (const char* figure : {"relative_error", "cosine", "output_error"}) {
        EXPECT_EQ(row[figure].is_null(), row["transformed"].get<bool>()) << row << figure;
      }
    }
    return modules;
  };
  const Outcome outcome =
      RunOctavo({"quantize", model_.path(), "--scheme", "W8A8", "--algorithm", "smoothquant+gptq", "-o",
                 root_ + "/smooth", "--certificate", "--certificate-windows", "1", "--threads", "2",
                 "--num-calibration-samples", "4", "--max-seq-length", "64"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  std::map<std::string, bool> modules = transformed(ReadJson("smooth/octavo_report.json"));
  EXPECT_TRUE(modules["model.layers.0.self_attn.q_proj"]);  // behind a norm
  EXPECT_TRUE(modules["model.layers.1.mlp.up_proj"]);
  EXPECT_FALSE(modules["model.layers.0.self_attn.o_proj"]);
  EXPECT_FALSE(modules["model.layers.1.mlp.down_proj"]);
  for (const char* name : {"smooth/octavo_report.md", "smooth/octavo_report.html"}) {
    EXPECT_THAT(ReadFile(root_ + "/" + name).value(), HasSubstr("10 of 14 linear layers have no weight"))
        << name;
  }
  // Of other programs' checkpoints only the norms tell.
  fs::remove(root_ + "/smooth/octavo_quantize.json");
  ASSERT_EQ(Compare(model_.path(), root_ + "/smooth", {"--json", root_ + "/again.json"}).exit_code, 0);
  modules = transformed(ReadJson("again.json"));
  EXPECT_TRUE(modules["model.layers.0.self_attn.q_proj"]);
  EXPECT_TRUE(modules["model.layers.1.mlp.down_proj"]);
  // Rounding alone moves nothing.
  ASSERT_EQ(Quantize("plain").exit_code, 0);
  for (const auto& [module, moved] : transformed(ReadJson("plain/octavo_report.json"))) {
    EXPECT_FALSE(moved) << module;
  }
  EXPECT_THAT(ReadFile(root_ + "/plain/octavo_report.md").value(), Not(HasSubstr("have no weight")));
}

TEST_F(CompareCommandTest, ABrokenLimitLeavesNoCheckpoint) {
  const Outcome outcome = Quantize("bad", {"--max-kld", "1e-9"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("mean KL divergence is"));
  EXPECT_FALSE(fs::exists(root_ + "/bad"));
  EXPECT_FALSE(fs::exists(root_ + "/bad.partial"));
  EXPECT_GT(ReadJson("bad.refused.json")["divergence"]["mean_kl"]["value"], 1e-9);
  EXPECT_EQ(Quantize("bad", {"--max-ppl-increase", "1000"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(root_ + "/bad/config.json"));
}

TEST_F(CompareCommandTest, ARefusedRunKeepsTheOldCheckpoint) {
  ASSERT_EQ(Quantize("kept").exit_code, 0);
  const std::string before = Sha256OfFile(root_ + "/kept/model.safetensors").value();
  EXPECT_EQ(Quantize("kept", {"--overwrite", "--group-size", "32", "--max-kld", "1e-9"}).exit_code, 1);
  EXPECT_EQ(Sha256OfFile(root_ + "/kept/model.safetensors").value(), before);
}

TEST_F(CompareCommandTest, ATextThatCannotBeReadStopsBeforeTheWork) {
  const Outcome outcome = Quantize("none", {"--certificate-file", root_ + "/nosuchfile"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("nosuchfile"));
  EXPECT_FALSE(fs::exists(root_ + "/none.partial"));
}

TEST_F(CompareCommandTest, ADryRunKnowsTheSizeAndWritesNothing) {
  const Outcome dry = RunOctavo({"quantize", model_.path(), "--scheme", "W4A16", "--dry-run", "--json", "-"});
  ASSERT_EQ(dry.exit_code, 0) << dry.err;
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1);  // the text
  const Json estimate = ParseJson(dry.out).value();
  const Outcome real = Quantize("real", {"--json", root_ + "/real.json"});
  ASSERT_EQ(real.exit_code, 0) << real.err;
  EXPECT_EQ(estimate["output_bytes"], ReadJson("real.json")["output_bytes"]);
  EXPECT_EQ(estimate["bits_per_weight"], ReadJson("real.json")["bits_per_weight"]);
  EXPECT_GT(estimate["schemes"].size(), 5u);
  EXPECT_EQ(RunOctavo({"quantize", model_.path(), "--scheme", "W4A16"}).exit_code, 2);
  EXPECT_EQ(RunOctavo({"quantize", model_.path(), "--scheme", "X", "--dry-run"}).exit_code, 1);
}

TEST_F(CompareCommandTest, OutliersFindsAnInflatedDimension) {
  {  // the norm's weight of dimension 5 in every layer
    const auto checkpoint = Checkpoint::Open(model_.path()).value();
    std::fstream file(model_.path() + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    for (const std::string name : {"model.layers.0.input_layernorm.weight",
                                   "model.layers.1.post_attention_layernorm.weight"}) {
      const float large = 1000;
      file.seekp(static_cast<std::streamoff>(checkpoint->Find(name)->offset + 5 * sizeof(float)));
      file.write(reinterpret_cast<const char*>(&large), sizeof large);
    }
  }
  const Outcome outcome = RunOctavo({"outliers", model_.path(), "--file", text_, "--window", "128", "--json",
                                     "-", "--html", root_ + "/outliers.html"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json json = ParseJson(outcome.out).value();
  EXPECT_EQ(json["inputs"].size(), 4u);
  const Json& first = json["dimensions"][0];
  EXPECT_EQ(first["dimension"], 5);
  EXPECT_EQ(first["systematic"], true);
  EXPECT_EQ(first["inputs_share"], 0.5);
  EXPECT_GT(first["positions_share"], 0.4);  // nearly everywhere in two of four inputs
  EXPECT_GT(first["max_abs"][0], 100.0);
  EXPECT_LT(first["max_abs"][1], 100.0);
  EXPECT_THAT(ReadFile(root_ + "/outliers.html").value(), HasSubstr("<svg"));
}

}  // namespace
}  // namespace octavo
