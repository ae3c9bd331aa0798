// SPDX-License-Identifier: Apache-2.0
// The whole pipeline against the tokenizers library, streaming, and damaged files.
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include "tokenizer/detokenizer.h"
#include "tokenizer/test_util.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

std::unique_ptr<Tokenizer> MustLoad(const Json& json) {
  auto made = Tokenizer::FromJson(json);
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return made.ok() ? std::move(made).value() : nullptr;
}

std::string Stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  StreamingDetokenizer stream(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = stream.Push(id);
    EXPECT_TRUE(IsValidUtf8(part));
    text += part;
  }
  return text + stream.Finish();
}

// A byte-level tokenizer of the 256 bytes and a few merges, with `changes` merged in.
Json TinyByteLevel(const Json& changes = Json::object()) {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    static int next = 0;
    if (byte == 0) next = 0;
    std::string token;
    AppendUtf8(static_cast<char32_t>(printable ? byte : 0x100 + next++), &token);
    vocab[token] = byte;
  }
  vocab["ab"] = 256;
  vocab["abab"] = 257;
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  Json json = {{"version", "1.0"},
               {"added_tokens", Json::array()},
               {"pre_tokenizer", byte_level},
               {"decoder", byte_level},
               {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", "ab ab"}}}}};
  json.merge_patch(changes);
  return json;
}

TEST(TokenizerTest, EqualsLibraryOnSmallTokenizers) {
  const Json golden = testing::GoldenJson("small_tokenizers.json");
  ASSERT_GE(golden["tokenizers"].size(), 9u);
  for (const Json& entry : golden["tokenizers"]) {
    const auto tokenizer = MustLoad(entry["tokenizer"]);
    ASSERT_NE(tokenizer, nullptr) << entry["name"];
    for (size_t i = 0; i < golden["texts"].size(); ++i) {
      const auto text = golden["texts"][i].get<std::string>();
      const auto want = entry["ids"][i].get<std::vector<int32_t>>();
      const auto ids = tokenizer->Encode(text, true);
      ASSERT_TRUE(ids.ok()) << ids.status().ToString();
      EXPECT_EQ(*ids, want) << entry["name"] << " on '" << text << "'";
      const auto decoded = entry["decoded"][i].get<std::string>();
      EXPECT_EQ(tokenizer->Decode(want, true), decoded) << entry["name"] << " on '" << text << "'";
      EXPECT_EQ(Stream(*tokenizer, want, true), decoded) << entry["name"];
      EXPECT_EQ(Stream(*tokenizer, want, false), tokenizer->Decode(want, false)) << entry["name"];
    }
  }
}

TEST(TokenizerTest, StreamsWholeCharactersOnRandomIds) {
  const Json golden = testing::GoldenJson("small_tokenizers.json");
  std::mt19937 rng(5);
  for (const Json& entry : golden["tokenizers"]) {
    const auto tokenizer = MustLoad(entry["tokenizer"]);
    ASSERT_NE(tokenizer, nullptr);
    for (int round = 0; round < 50; ++round) {
      std::vector<int32_t> ids(1 + rng() % 40);
      for (int32_t& id : ids) id = static_cast<int32_t>(rng() % (tokenizer->vocab_size() + 2));
      EXPECT_EQ(Stream(*tokenizer, ids, false), tokenizer->Decode(ids, false)) << entry["name"];
      EXPECT_TRUE(IsValidUtf8(tokenizer->Decode(ids, false)));
    }
  }
}

TEST(TokenizerTest, ReplacesInvalidUtf8First) {
  const auto tokenizer = MustLoad(TinyByteLevel());
  ASSERT_NE(tokenizer, nullptr);
  const std::string broken = "a\xF0\x9F\x98 \xFF\xC3(\xED\xA0\x80";
  EXPECT_EQ(*tokenizer->Encode(broken, false),
            *tokenizer->Encode(ReplaceInvalidUtf8(broken), false));
  EXPECT_EQ(tokenizer->Decode(*tokenizer->Encode(broken, false), false),
            "a\uFFFD \uFFFD\uFFFD(\uFFFD\uFFFD\uFFFD");
}

TEST(TokenizerTest, ExplainsOrigins) {
  const Json changes = {
      {"added_tokens", {{{"content", "<s>"}, {"special", true}}}},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
        {"special_tokens", {{"<s>", {{"ids", {258}}}}}}}}};
  const auto tokenizer = MustLoad(TinyByteLevel(changes));
  ASSERT_NE(tokenizer, nullptr);
  const auto tokens = tokenizer->Explain("ab<s>", true);
  ASSERT_TRUE(tokens.ok());
  ASSERT_EQ(tokens->size(), 3u);
  EXPECT_EQ((*tokens)[0].rule, TokenRule::kPostProcessor);
  EXPECT_EQ((*tokens)[1].rule, TokenRule::kModel);
  EXPECT_EQ((*tokens)[1].token, "ab");
  EXPECT_EQ((*tokens)[2].rule, TokenRule::kAddedToken);
  EXPECT_EQ((*tokens)[2].id, 258);
  EXPECT_TRUE(tokenizer->IsSpecial(258));
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{258, 256}, true), "ab");
  EXPECT_EQ(tokenizer->vocab_size(), 259);
}

TEST(TokenizerTest, LongWordsTakeLinearithmicTime) {
  const auto tokenizer = MustLoad(TinyByteLevel({{"pre_tokenizer", {{"use_regex", false}}}}));
  ASSERT_NE(tokenizer, nullptr);
  std::string word;
  for (int i = 0; i < 500'000; ++i) word += "ab";
  const auto ids = tokenizer->Encode(word, false);  // quadratic merging would take minutes
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*ids, std::vector<int32_t>(250'000, 257));
}

TEST(TokenizerTest, RefusesUnsupportedPartsByName) {
  const auto refusal = [](const Json& changes) {
    const auto made = Tokenizer::FromJson(TinyByteLevel(changes));
    return made.ok() ? std::string("accepted") : made.status().message();
  };
  EXPECT_NE(refusal({{"normalizer", {{"type", "Magic"}}}}).find("'Magic'"), std::string::npos);
  EXPECT_NE(refusal({{"pre_tokenizer", {{"type", "UnicodeScripts"}}}}).find("'UnicodeScripts'"),
            std::string::npos);
  EXPECT_NE(refusal({{"decoder", {{"type", "CTC"}}}}).find("'CTC'"), std::string::npos);
  EXPECT_NE(refusal({{"post_processor", {{"type", "Other"}}}}).find("'Other'"), std::string::npos);
  EXPECT_NE(refusal({{"model", {{"type", "WordLevel"}}}}).find("'WordLevel'"), std::string::npos);
  EXPECT_NE(refusal({{"model", {{"dropout", 0.1}}}}).find("dropout"), std::string::npos);
  EXPECT_NE(refusal({{"version", "2.0"}}).find("'2.0'"), std::string::npos);
  EXPECT_NE(refusal({{"model", {{"merges", {"a zzz"}}}}}).find("merge 0"), std::string::npos);
  EXPECT_NE(refusal({{"model", {{"vocab", {{"a", 2000000000}}}}}}).find("largest id"),
            std::string::npos);
  EXPECT_NE(refusal({{"model", {{"vocab", {{"a", -1}}}}}}).find("out of range"), std::string::npos);
}

TEST(TokenizerTest, SurvivesMutations) {
  const Json golden = testing::GoldenJson("small_tokenizers.json");
  std::mt19937 rng(3);
  int loaded = 0;
  for (const Json& entry : golden["tokenizers"]) {
    const std::string source = DumpJson(entry["tokenizer"]);
    for (int i = 0; i < 60; ++i) {
      const auto made = Tokenizer::FromJsonText(testing::Mutate(source, &rng));
      if (!made.ok()) continue;
      ++loaded;
      const auto ids = (*made)->Encode("some text <s> 世界 123", true);
      if (!ids.ok()) continue;
      EXPECT_TRUE(IsValidUtf8((*made)->Decode(*ids, false)));
    }
  }
  EXPECT_GT(loaded, 10);
}

TEST(TokenizerTest, RejectsDeepJson) {
  EXPECT_FALSE(Tokenizer::FromJsonText(std::string(1'000'000, '[')).ok());
  EXPECT_FALSE(Tokenizer::FromJsonText("").ok());
  EXPECT_FALSE(Tokenizer::FromJsonText("{}").ok());
  EXPECT_FALSE(Tokenizer::FromJsonText(R"({"model":{"vocab":[[1,2]]}})").ok());
  EXPECT_FALSE(Tokenizer::FromJsonText(R"({"model":{"merges":[[["a"]]]}})").ok());
}

}  // namespace
}  // namespace octavo
