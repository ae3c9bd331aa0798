// SPDX-License-Identifier: Apache-2.0
// generate, chat and perplexity end to end on a tiny random model.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "cli/testing.h"
#include "engine/tiny_model.h"

namespace octavo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GenerateCommandTest : public ::testing::Test {
 protected:
  Json Generate(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"generate", model_.path()});
    arguments.insert(arguments.end(), {"--threads", "2", "--max-model-len", "256", "--json", "-"});
    const Outcome outcome = RunOctavo(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("tok/s"));
    auto json = ParseJson(outcome.out);
    EXPECT_TRUE(json.ok()) << outcome.out;
    return json.ok() ? *std::move(json) : Json();
  }

  testing::TinyModel model_;
};

TEST_F(GenerateCommandTest, ReportsExactlyThePromisedKeys) {
  const Json json = Generate({"-p", "hello", "--max-tokens", "7", "--ignore-eos"});
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("prompt_token_ids", "token_ids", "text", "prefill_tok_s",
                                "decode_tok_s", "ttft_ms", "peak_rss_bytes"));
  EXPECT_EQ(json["token_ids"].size(), 7u);
  EXPECT_GT(json["peak_rss_bytes"], 0);
}

TEST_F(GenerateCommandTest, TextAndItsIdsGiveTheSameTokens) {
  const Json text = Generate({"-p", "hello", "--max-tokens", "12", "--ignore-eos"});
  std::string ids;
  for (const Json& id : text["prompt_token_ids"]) ids += std::to_string(id.get<int>()) + ",";
  const Json same = Generate({"--prompt-ids", ids, "--max-tokens", "12", "--ignore-eos"});
  EXPECT_EQ(same["token_ids"], text["token_ids"]);
  EXPECT_EQ(same["prompt_token_ids"], text["prompt_token_ids"]);
}

TEST_F(GenerateCommandTest, SameSeedGivesTheSameRandomText) {
  const std::vector<std::string> arguments = {
      "-p", "x", "--max-tokens", "16", "--ignore-eos", "--temperature", "1", "--seed", "5"};
  EXPECT_EQ(Generate(arguments)["token_ids"], Generate(arguments)["token_ids"]);
}

TEST_F(GenerateCommandTest, WrongUsageIsFoundBeforeLoading) {
  EXPECT_EQ(RunOctavo({"generate", "/nosuchmodel"}).exit_code, 2);
  EXPECT_EQ(RunOctavo({"generate", "/nosuchmodel", "-p", "x", "--prompt-ids", "1"}).exit_code, 2);
  EXPECT_EQ(RunOctavo({"generate", "/nosuchmodel", "--prompt-ids", "a"}).exit_code, 2);
  EXPECT_EQ(RunOctavo({"generate", "/nosuchmodel", "-p", "x", "--max-tokens", "0"}).exit_code, 2);
  EXPECT_EQ(RunOctavo({"generate", "/nosuchmodel", "-p", "x"}).exit_code, 1);
}

TEST_F(GenerateCommandTest, PerplexityOfARandomModelIsAboutItsVocabulary) {
  const std::string text = model_.path() + "/text.txt";
  std::string content;
  for (int i = 0; i < 400; ++i) content += static_cast<char>(' ' + i * 37 % 90);
  ASSERT_TRUE(WriteFileAtomically(text, content).ok());
  const Outcome outcome = RunOctavo({"perplexity", model_.path(), "--file", text, "--window", "64",
                                     "--max-windows", "3", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto json = ParseJson(outcome.out);
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["windows"], 3);
  EXPECT_EQ((*json)["tokens"], 3 * 63);
  // Chance level is 272; a random model is off from it by the spread of its logits.
  EXPECT_GT((*json)["perplexity"], 100.0);
  EXPECT_LT((*json)["perplexity"], 2000.0);
}

TEST_F(GenerateCommandTest, PerplexityScoresOnlyTokensWithEnoughContext) {
  const std::string text = model_.path() + "/text.txt";
  std::string content;
  for (int i = 0; i < 400; ++i) content += static_cast<char>(' ' + i * 37 % 90);
  ASSERT_TRUE(WriteFileAtomically(text, content).ok());
  const auto run = [&](const std::string& min_context) {
    return RunOctavo({"perplexity", model_.path(), "--file", text, "--window", "64", "--min-context",
                      min_context, "--json", "-"});
  };
  const Json half = ParseJson(run("33").out).value();
  EXPECT_EQ(half["tokens"], half["windows"].get<int64_t>() * 31);
  EXPECT_NE(half["perplexity"], ParseJson(run("1").out).value()["perplexity"]);
  const Outcome none = run("64");
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("--min-context 64 leaves nothing to score"));
}

TEST_F(GenerateCommandTest, PerplexityWantsAWholeWindow) {
  const std::string text = model_.path() + "/short.txt";
  ASSERT_TRUE(WriteFileAtomically(text, "short").ok());
  const Outcome outcome = RunOctavo({"perplexity", model_.path(), "--file", text});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("want at least one window of 2048"));
}

// Two kernels, two stored forms, one model: what QoQ promises for its W8A8 form.
TEST_F(GenerateCommandTest, BothFormsOfQoqGiveTheSameLogitBits) {
  const auto logits_of = [&](const std::string& name, std::vector<std::string> form) {
    const std::string folder = model_.path() + "/" + name;
    const std::string file = folder + ".logits.safetensors";
    form.insert(form.begin(), {"quantize", model_.path(), "--scheme", "QOQ_G128", "--group-size",
                               "32", "-o", folder});
    const Outcome quantized = RunOctavo(form);
    EXPECT_EQ(quantized.exit_code, 0) << quantized.err;
    const Outcome computed =
        RunOctavo({"logits", folder, "--prompt-ids", "1,99,7,200,45,12,12", "-o", file});
    EXPECT_EQ(computed.exit_code, 0) << computed.err;
    auto bytes = ReadFile(file, 1 << 20);
    EXPECT_TRUE(bytes.ok());
    return bytes.ok() ? *std::move(bytes) : name;
  };
  EXPECT_EQ(logits_of("qoq", {}), logits_of("w8a8", {"--as", "W8A8"}));
}

// Gives the process a text as its standard input.
class ScopedInput {
 public:
  explicit ScopedInput(const std::string& path) : saved_(dup(STDIN_FILENO)) {
    const int file = open(path.c_str(), O_RDONLY);
    EXPECT_GE(file, 0);
    dup2(file, STDIN_FILENO);
    close(file);
  }
  ~ScopedInput() {
    dup2(saved_, STDIN_FILENO);
    close(saved_);
  }
  ScopedInput(const ScopedInput&) = delete;
  ScopedInput& operator=(const ScopedInput&) = delete;

 private:
  int saved_;
};

class ChatCommandTest : public GenerateCommandTest {
 protected:
  Outcome Chat(const std::string& typed) {
    const std::string path = model_.path() + "/typed.txt";
    EXPECT_TRUE(WriteFileAtomically(path, typed).ok());
    const ScopedInput input(path);
    return RunOctavo({"chat", model_.path(), "--max-tokens", "8", "--temperature", "0", "--threads",
                      "1", "--max-model-len", "256"});
  }
};

TEST_F(ChatCommandTest, AnswersDependOnTheConversation) {
  const Outcome once = Chat("hello");
  EXPECT_EQ(once.exit_code, 0) << once.err;
  const Outcome twice = Chat("hello\nhello\n");
  ASSERT_TRUE(twice.out.starts_with(once.out));
  EXPECT_NE(twice.out, once.out + once.out) << "the second answer has not seen the first";
}

TEST_F(ChatCommandTest, ResetForgetsAndExitLeaves) {
  const Outcome once = Chat("hello");
  EXPECT_FALSE(once.out.empty());
  EXPECT_EQ(Chat("hello\n/reset\nhello\n/exit\nhello\n").out, once.out + once.out);
  EXPECT_EQ(Chat("").out, "");
}

TEST_F(ChatCommandTest, WantsAChatTemplate) {
  ASSERT_TRUE(WriteFileAtomically(model_.path() + "/tokenizer_config.json", "{}").ok());
  const Outcome outcome = Chat("hello");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("no chat template"));
}

}  // namespace
}  // namespace octavo
