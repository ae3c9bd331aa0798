// SPDX-License-Identifier: Apache-2.0
// Model folders, GGUF vocabularies, SentencePiece and tiktoken files.
#include "tokenizer/text_processor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tokenizer/byte_map.h"
#include "tokenizer/precompiled_charsmap.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/test_util.h"
#include "tokenizer/tiktoken.h"

namespace octavo {
namespace {

// A folder that is removed at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("octavo_text_" + std::to_string(getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  void Write(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(WriteFileAtomically(path_ / name, text).ok());
  }
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

Json SmallTokenizer(const std::string& name) {
  const Json golden = testing::GoldenJson("small_tokenizers.json");
  for (const Json& entry : golden["tokenizers"]) {
    if (entry["name"] == name) return entry["tokenizer"];
  }
  return {};
}

std::unique_ptr<TextProcessor> MustLoad(const std::string& folder) {
  auto made = TextProcessor::FromFolder(folder);
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return made.ok() ? std::move(made).value() : nullptr;
}

TEST(TextProcessorTest, StopTokensFollowPrecedence) {
  TemporaryFolder folder;
  folder.Write("tokenizer.json", DumpJson(SmallTokenizer("gpt2")));
  folder.Write("tokenizer_config.json",
               R"({"eos_token": {"content": "</s>"}, "bos_token": "<s>"})");
  folder.Write("config.json", R"({"eos_token_id": 7})");
  EXPECT_EQ(MustLoad(folder.path())->eos_token_ids(), (std::vector<int32_t>{2, 7}));
  folder.Write("generation_config.json", R"({"eos_token_id": [9, 8]})");
  EXPECT_EQ(MustLoad(folder.path())->eos_token_ids(), (std::vector<int32_t>{2, 8, 9}));
  EXPECT_EQ(MustLoad(folder.path())->bos_token_id(), 1);
  folder.Write("generation_config.json", R"({"eos_token_id": "x"})");
  EXPECT_FALSE(TextProcessor::FromFolder(folder.path()).ok());
}

TEST(TextProcessorTest, TemplateFileWinsAndBadTemplatesAreReported) {
  TemporaryFolder folder;
  folder.Write("tokenizer.json", DumpJson(SmallTokenizer("gpt2")));
  folder.Write("tokenizer_config.json",
               R"({"bos_token": "<s>", "chat_template": [{"name": "rag", "template": "r"},
                   {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"}]})");
  const Json messages = {{{"role", "user"}, {"content", "hi"}}};
  const auto model = MustLoad(folder.path());
  EXPECT_EQ(*model->RenderChat(messages, {}), "<s>hi");
  // The template's own BOS is recognized and no second one is added.
  const auto ids = model->EncodeChat(messages, {});
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(std::count(ids->begin(), ids->end(), 1), 1);
  folder.Write("chat_template.jinja", "file: {{ messages[0].content }}");
  EXPECT_EQ(*MustLoad(folder.path())->RenderChat(messages, {}), "file: hi");
  folder.Write("chat_template.jinja", "{% if %}");
  const auto broken = MustLoad(folder.path());
  EXPECT_EQ(broken->chat_template(), nullptr);
  EXPECT_NE(broken->RenderChat(messages, {}).status().message().find("line 1"), std::string::npos);
}

TEST(TextProcessorTest, ConfigFlagsOverruleBos) {
  TemporaryFolder folder;
  folder.Write("tokenizer.json", DumpJson(SmallTokenizer("llama3")));  // adds <s> and </s>
  EXPECT_EQ(MustLoad(folder.path())->EncodeText("")->size(), 2u);
  folder.Write("tokenizer_config.json",
               R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false})");
  EXPECT_EQ(*MustLoad(folder.path())->EncodeText(""), std::vector<int32_t>{2});
  folder.Write("tokenizer.json", DumpJson(SmallTokenizer("gemma")));  // adds nothing
  folder.Write("tokenizer_config.json", R"({"bos_token": "<s>", "add_bos_token": true})");
  EXPECT_EQ(*MustLoad(folder.path())->EncodeText(""), std::vector<int32_t>{1});
}

TEST(TextProcessorTest, ExplainsMissingFiles) {
  TemporaryFolder folder;
  const auto made = TextProcessor::FromFolder(folder.path());
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.status().message().find("tokenizer.json"), std::string::npos);
}

TEST(TextProcessorTest, LoadsRealModels) {
  const std::string folder = testing::ModelFolder("smollm2-135m");
  if (folder.empty()) GTEST_SKIP() << "no smollm2-135m; set OCTAVO_MODELS";
  const auto model = MustLoad(folder);
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->eos_token_ids(), std::vector<int32_t>{2});
  const Json messages = {{{"role", "user"}, {"content", "Hi"}}};
  const auto ids = model->EncodeChat(messages, {});
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->front(), 1);
}

// The GGUF form of a byte-level tokenizer.json gives the same tokens.
TEST(GgufTokenizerTest, EqualsTokenizerJson) {
  const Json json = SmallTokenizer("llama3");
  GgufVocabulary gguf;
  gguf.model = "gpt2";
  gguf.pre = "llama-bpe";
  gguf.tokens.resize(json["model"]["vocab"].size());
  gguf.token_types.resize(gguf.tokens.size(), 1);
  for (const auto& [token, id] : json["model"]["vocab"].items())
    gguf.tokens[id.get<size_t>()] = token;
  for (const Json& merge : json["model"]["merges"]) {
    gguf.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  for (const Json& token : json["added_tokens"]) gguf.token_types[token["id"].get<size_t>()] = 3;
  gguf.bos_token_id = 1;
  gguf.eos_token_id = 2;
  gguf.add_eos_token = true;
  gguf.chat_template = "{{ bos_token }}x";
  const auto model = TextProcessor::FromGguf(gguf);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const auto reference = Tokenizer::FromJson(json);
  ASSERT_TRUE(reference.ok());
  const Json golden = testing::GoldenJson("small_tokenizers.json");
  for (const Json& text : golden["texts"]) {
    EXPECT_EQ(*(*model)->EncodeText(text.get<std::string>()),
              *(*reference)->Encode(text.get<std::string>(), true));
  }
  EXPECT_EQ((*model)->eos_token_ids(), std::vector<int32_t>{2});
  EXPECT_EQ(*(*model)->RenderChat(Json::array(), {}), "<s>x");
}

TEST(GgufTokenizerTest, RefusesDamage) {
  GgufVocabulary gguf;
  EXPECT_FALSE(Tokenizer::FromGguf(gguf).ok());
  gguf.model = "gpt2";
  gguf.tokens = {"a", "b", "ab"};
  gguf.merges = {"a b"};
  EXPECT_TRUE(Tokenizer::FromGguf(gguf).ok());
  gguf.bos_token_id = 3;
  EXPECT_FALSE(Tokenizer::FromGguf(gguf).ok());
  gguf.bos_token_id = -1;
  EXPECT_FALSE(Tokenizer::FromGguf(gguf).ok());
  gguf.bos_token_id.reset();
  gguf.token_types = {1};
  EXPECT_FALSE(Tokenizer::FromGguf(gguf).ok());
  gguf.token_types.clear();
  gguf.pre = "unheard-of";
  EXPECT_NE(Tokenizer::FromGguf(gguf).status().message().find("unheard-of"), std::string::npos);
  gguf.pre = "";
  gguf.merges = {"a"};
  EXPECT_FALSE(Tokenizer::FromGguf(gguf).ok());
  gguf.model = "rwkv";
  EXPECT_NE(Tokenizer::FromGguf(gguf).status().message().find("rwkv"), std::string::npos);
}

// Protobuf fields by hand: a tag byte, then a varint or length-delimited bytes.
std::string Field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) +
         bytes;
}
std::string VarintField(int number, int value) {
  const int tag = number << 3;
  std::string out;
  if (tag >= 128) out += static_cast<char>((tag & 127) | 128);
  out += static_cast<char>(tag >= 128 ? tag >> 7 : tag);
  return out + static_cast<char>(value);
}

std::string PieceField(const std::string& text, float score, int type) {
  std::string bytes = Field(1, text) + std::string(1, static_cast<char>(2 << 3 | 5));
  bytes.append(reinterpret_cast<const char*>(&score), sizeof(score));
  return Field(1, bytes + VarintField(3, type));
}

std::string TinyModel(int algorithm) {
  std::string model =
      PieceField("<unk>", 0, 2) + PieceField("<s>", 0, 3) + PieceField("</s>", 0, 3);
  model += PieceField("▁a", -1, 1) + PieceField("bc", -2, 1) + PieceField("▁abc", -3, 1);
  for (const char* c : {"▁", "a", "b", "c"}) model += PieceField(c, -10, 1);
  model += Field(2, VarintField(3, algorithm) + VarintField(35, 0));
  return model + Field(3, VarintField(3, 1) + VarintField(4, 0));
}

TEST(SentencePieceTest, ReadsBothAlgorithms) {
  for (const int algorithm : {1, 2}) {
    auto model = ParseSentencePieceModel(TinyModel(algorithm));
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    EXPECT_EQ(model->pieces.size(), 10u);
    const auto tokenizer = MakeSentencePieceTokenizer(std::move(model).value(), true, false);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
    EXPECT_EQ(*(*tokenizer)->Encode("abc bc", true), (std::vector<int32_t>{1, 5, 6, 4}));
    EXPECT_EQ(*(*tokenizer)->Encode("zz", false), (std::vector<int32_t>{6, 0}));
    EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{5, 6, 4}, false), "abc bc");
  }
}

TEST(SentencePieceTest, SurvivesMutations) {
  std::mt19937 rng(9);
  int loaded = 0;
  for (int i = 0; i < 400; ++i) {
    auto model = ParseSentencePieceModel(testing::Mutate(TinyModel(1 + i % 2), &rng));
    if (!model.ok()) continue;
    const auto tokenizer = MakeSentencePieceTokenizer(std::move(model).value(), true, true);
    if (!tokenizer.ok()) continue;
    loaded += (*tokenizer)->Encode("abc zz", true).ok();
  }
  EXPECT_GT(loaded, 10);
}

TEST(SentencePieceTest, EqualsConvertedTokenizerJson) {
  const std::string model_path = testing::SharedPath("tokenizers/llama2/tokenizer.model");
  const std::string json_path = testing::SharedPath("tokenizers/llama2/tokenizer.json");
  if (model_path.empty() || json_path.empty()) GTEST_SKIP() << "no llama2; set OCTAVO_SHARED";
  const auto bytes = ReadFile(model_path);
  ASSERT_TRUE(bytes.ok());
  auto model = ParseSentencePieceModel(*bytes);
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const auto tokenizer = MakeSentencePieceTokenizer(std::move(model).value(), false, false);
  const auto reference = Tokenizer::FromFile(json_path);
  ASSERT_TRUE(tokenizer.ok() && reference.ok());
  const Json golden = testing::GoldenJson("small_tokenizers.json");
  for (const Json& text : golden["texts"]) {
    const auto want = *(*reference)->Encode(text.get<std::string>(), true);
    EXPECT_EQ(*(*tokenizer)->Encode(text.get<std::string>(), true), want);
    EXPECT_EQ((*tokenizer)->Decode(want, true), (*reference)->Decode(want, true));
  }
}

// A byte-level vocabulary written as tiktoken ranks gives the same tokens.
TEST(TiktokenTest, EqualsTokenizerJson) {
  const Json json = SmallTokenizer("llama3");
  const auto reference = Tokenizer::FromJson(json);
  ASSERT_TRUE(reference.ok());
  std::string text;
  Json config = {{"added_tokens_decoder", Json::object()}};
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    if (token.starts_with('<') && token.size() > 2) {
      config["added_tokens_decoder"][std::to_string(id.get<int>())] = {{"content", token}};
      continue;
    }
    std::string bytes;
    AppendUnmappedBytes(token, &bytes);
    text += EncodeBase64(bytes) + " " + std::to_string(id.get<int>()) + "\n";
  }
  EXPECT_TRUE(LooksLikeTiktoken(text));
  auto spec = ParseTiktoken(text, config);
  ASSERT_TRUE(spec.ok()) << spec.status().ToString();
  const auto tokenizer = Tokenizer::FromSpec(std::move(spec).value());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  const Json golden = testing::GoldenJson("small_tokenizers.json");
  for (const Json& sample : golden["texts"]) {
    EXPECT_EQ(*(*tokenizer)->Encode(sample.get<std::string>(), false),
              *(*reference)->Encode(sample.get<std::string>(), false));
  }
  EXPECT_FALSE(ParseTiktoken("YQ== 0\nYQ==", config).ok());
  EXPECT_FALSE(ParseTiktoken("YQ== 0\nYg== 0", config).ok());
  EXPECT_FALSE(LooksLikeTiktoken(TinyModel(1)));
}

}  // namespace
}  // namespace octavo
