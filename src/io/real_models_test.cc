// SPDX-License-Identifier: Apache-2.0
// The real checkpoints: a GGUF read through the bf16 view equals its converted folder bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/hf_config.h"
#include "io/io_test_util.h"

namespace octavo {
namespace {

constexpr int64_t kRowsPerRead = 512;

// Index of the first row that differs, or -1.
int64_t FirstDifference(const Checkpoint& a, const StoredTensor& in_a, const Checkpoint& b,
                        const StoredTensor& in_b) {
  const auto cols = static_cast<size_t>(in_a.cols());
  std::vector<uint16_t> left(kRowsPerRead * cols);
  std::vector<uint16_t> right(kRowsPerRead * cols);
  for (int64_t row = 0; row < in_a.rows(); row += kRowsPerRead) {
    const int64_t count = std::min(kRowsPerRead, in_a.rows() - row);
    EXPECT_TRUE(a.ReadRowsBf16(in_a, row, count, left.data()).ok());
    EXPECT_TRUE(b.ReadRowsBf16(in_b, row, count, right.data()).ok());
    if (std::memcmp(left.data(), right.data(), static_cast<size_t>(count) * cols * 2) != 0)
      return row;
  }
  return -1;
}

void ExpectSameConfig(const Checkpoint& gguf, const Checkpoint& folder) {
  const auto ours = NormalizeConfig(gguf.config());
  const auto want = NormalizeConfig(folder.config());
  ASSERT_TRUE(ours.ok() && want.ok());
  for (const char* key :
       {"architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "vocab_size", "max_position_embeddings",
        "rms_norm_eps", "rope_theta", "hidden_act", "bos_token_id", "eos_token_id", "pad_token_id",
        "torch_dtype"}) {
    ASSERT_TRUE(ours->contains(key)) << key;
    EXPECT_EQ(ours->at(key), want->at(key)) << key;
  }
}

// Every tensor of the folder equals the GGUF's. The folders of GGUFs with two copies of the
// embedding keep the one from lm_head.
void ExpectSameModel(const std::string& name) {
  const std::string models = testing::ModelsFolder();
  const std::string gguf_path = models + "/gguf/" + name + ".gguf";
  const std::string folder_path = models + "/hf/" + name;
  if (!std::filesystem::exists(gguf_path) || !std::filesystem::exists(folder_path)) {
    GTEST_SKIP() << "no " << name << " in " << models;
  }
  const auto gguf = Checkpoint::Open(gguf_path);
  const auto folder = Checkpoint::Open(folder_path);
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  ASSERT_TRUE(folder.ok()) << folder.status().ToString();
  ExpectSameConfig(**gguf, **folder);
  size_t matched = 0;
  for (const StoredTensor& want : (*folder)->tensors()) {
    const StoredTensor* found = (*gguf)->Find(want.name);
    const StoredTensor* head = (*gguf)->Find("lm_head.weight");
    if (want.name == "model.embed_tokens.weight" && head != nullptr) found = head;
    ASSERT_NE(found, nullptr) << want.name;
    ASSERT_EQ(found->shape, want.shape) << want.name;
    EXPECT_EQ(FirstDifference(**gguf, *found, **folder, want), -1) << want.name;
    ++matched;
  }
  const size_t copies = (*gguf)->Find("lm_head.weight") != nullptr ? 1 : 0;
  EXPECT_EQ(matched, (*gguf)->tensors().size() - copies);
}

TEST(RealModelsTest, SmolLm2GgufEqualsItsFolder) { ExpectSameModel("smollm2-135m"); }

TEST(RealModelsTest, Qwen05bGgufEqualsItsFolder) { ExpectSameModel("qwen-0.5b"); }

TEST(RealModelsTest, GgufTokenizerFieldsAreComplete) {
  const std::string path = testing::ModelsFolder() + "/gguf/smollm2-135m.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const auto gguf = GgufReader::Open(path);
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  const auto fields = ReadGgufTokenizer(**gguf);
  ASSERT_TRUE(fields.ok()) << fields.status().ToString();
  EXPECT_EQ(fields->model, "gpt2");
  EXPECT_EQ(fields->pre, "smollm");
  EXPECT_EQ(fields->tokens.size(), 49152u);
  EXPECT_EQ(fields->tokens[1], "<|im_start|>");
  EXPECT_EQ(fields->token_types[1], 3);
  EXPECT_EQ(fields->merges[0], "\xc4\xa0 t");
  EXPECT_EQ(fields->eos_token_id, 2);
  EXPECT_TRUE(fields->has_add_bos_token);
  EXPECT_FALSE(fields->add_bos_token);
  EXPECT_NE(fields->chat_template.find("<|im_start|>"), std::string::npos);
}

}  // namespace
}  // namespace octavo
