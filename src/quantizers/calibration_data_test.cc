// SPDX-License-Identifier: Apache-2.0
#include "quantizers/calibration_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class CalibrationDataTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / ("octavo_calibration_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    const auto golden = ParseJsonFile(std::string(OCTAVO_SOURCE_DIR) +
                                      "/tests/golden/tokenizer/small_tokenizers.json");
    ASSERT_TRUE(golden.ok());
    for (const Json& entry : (*golden)["tokenizers"]) {
      if (entry["name"] == "gpt2") Write("tokenizer.json", DumpJson(entry["tokenizer"]));
    }
    Write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>", "chat_template":
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"})");
    auto text = TextProcessor::FromFolder(folder_.string());
    ASSERT_TRUE(text.ok()) << text.status().ToString();
    text_ = std::move(text).value();
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically((folder_ / name).string(), content).ok());
    return (folder_ / name).string();
  }
  std::vector<int32_t> Ids(const std::string& text) { return *text_->tokenizer().Encode(text, false); }

  fs::path folder_;
  std::unique_ptr<TextProcessor> text_;
};

TEST_F(CalibrationDataTest, ReadsTextAndMessagesLineByLine) {
  const std::string path = Write("data.jsonl",
                                 "{\"text\": \"Hello world\"}\n\n"
                                 "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\r\n"
                                 "{\"text\": \"never read\"}");
  const auto data = LoadCalibrationData({.path = path, .num_samples = 2}, *text_);
  ASSERT_TRUE(data.ok()) << data.status().ToString();
  EXPECT_THAT(data->samples, ElementsAre(*text_->EncodeText("Hello world"), Ids("user: Hi\n")));
  EXPECT_EQ(data->num_tokens,
            static_cast<int64_t>(data->samples[0].size() + data->samples[1].size()));
  const auto cut = LoadCalibrationData({.path = path, .num_samples = 1, .max_length = 2}, *text_);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->samples[0].size(), 2u);
}

TEST_F(CalibrationDataTest, CutsPlainTextIntoSpreadWindows) {
  std::string content;
  for (int i = 0; i < 400; ++i) content += "word" + std::to_string(i) + " ";
  const std::vector<int32_t> all = Ids(content);
  const std::string path = Write("data.txt", content);
  const auto data = LoadCalibrationData({.path = path, .num_samples = 4, .max_length = 32}, *text_);
  ASSERT_TRUE(data.ok()) << data.status().ToString();
  ASSERT_EQ(data->samples.size(), 4u);
  const size_t windows = all.size() / 31;  // each begins with the BOS that the tokenizer adds
  for (size_t i = 0; i < 4; ++i) {
    const auto begin = all.begin() + static_cast<int64_t>(i * windows / 4 * 31);
    std::vector<int32_t> expected = {1};
    expected.insert(expected.end(), begin, begin + 31);
    EXPECT_EQ(data->samples[i], expected);
  }
  // A text shorter than a window is one sample.
  const auto small = LoadCalibrationData({.path = Write("small.txt", "Hello"), .num_samples = 4}, *text_);
  ASSERT_TRUE(small.ok());
  std::vector<int32_t> hello = Ids("Hello");
  hello.insert(hello.begin(), 1);
  EXPECT_THAT(small->samples, ElementsAre(hello));
}

TEST_F(CalibrationDataTest, HasABuiltInText) {
  const auto data = LoadCalibrationData({.path = {}, .num_samples = 16, .max_length = 128}, *text_);
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data->source, "built-in");
  EXPECT_EQ(data->num_tokens, 16 * 128);
  EXPECT_GT(DefaultCalibrationText().size(), 80000u);
}

TEST_F(CalibrationDataTest, SaysWhatIsWrongAndWhere) {
  const auto error = [&](const std::string& name, const std::string& content) {
    const auto data = LoadCalibrationData({.path = Write(name, content)}, *text_);
    EXPECT_FALSE(data.ok());
    return data.status().message();
  };
  EXPECT_THAT(error("a.jsonl", ""), HasSubstr("no text to calibrate with"));
  EXPECT_THAT(error("b.txt", ""), HasSubstr("no text to calibrate with"));
  EXPECT_THAT(error("c.jsonl", "{\"text\": \"x\"}\n{\"prompt\": 1}\n"),
              HasSubstr("c.jsonl line 2: has neither 'messages' nor 'text'"));
  EXPECT_THAT(error("d.jsonl", "{\"text\": \"x\"}\n{oops\n"), HasSubstr("d.jsonl line 2"));
  EXPECT_THAT(error("e.jsonl", "{\"text\": 5}\n"), HasSubstr("e.jsonl line 1"));
  EXPECT_THAT(LoadCalibrationData({.path = "/nowhere.txt"}, *text_).status().message(),
              HasSubstr("/nowhere.txt"));
  Write("tokenizer_config.json", "{}");
  auto plain = TextProcessor::FromFolder(folder_.string());
  ASSERT_TRUE(plain.ok());
  const std::string chat = Write("f.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}");
  EXPECT_THAT(LoadCalibrationData({.path = chat}, **plain).status().message(),
              HasSubstr("no chat template"));
}

}  // namespace
}  // namespace octavo
