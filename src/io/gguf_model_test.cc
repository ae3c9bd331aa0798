// SPDX-License-Identifier: Apache-2.0
// GGUF to Hugging Face: names, q/k row order, experts, Gemma's norms, config and rope scaling.
#include "io/gguf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/io_test_util.h"

namespace octavo {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;

struct TensorRow {
  std::string name;
  std::vector<uint64_t> dims;  // Innermost first.
  std::vector<float> values;   // Empty: 0, 1, 2, ...
};

// A GGUF of F32 tensors; hidden 8, 2 heads of 4, 1 kv head.
std::string MakeGguf(const std::string& arch, const std::vector<TensorRow>& tensors,
                     const std::vector<std::pair<std::string, uint32_t>>& keys = {}) {
  GgufBuilder builder;
  builder.Header(tensors.size(), 8 + keys.size()).KeyString("general.architecture", arch);
  builder.KeyU32(arch + ".embedding_length", 8).KeyU32(arch + ".feed_forward_length", 16);
  builder.KeyU32(arch + ".block_count", 2).KeyU32(arch + ".attention.head_count", 2);
  builder.KeyU32(arch + ".attention.head_count_kv", 1).KeyU32(arch + ".context_length", 64);
  builder.KeyF32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
  for (const auto& [key, value] : keys) builder.KeyU32(key, value);
  std::string data;
  for (const TensorRow& tensor : tensors) {
    builder.Tensor(tensor.name, tensor.dims, 0, data.size());
    uint64_t count = 1;
    for (const uint64_t dim : tensor.dims) count *= dim;
    GgufBuilder values;
    for (uint64_t i = 0; i < count; ++i) {
      values.Put(tensor.values.empty() ? static_cast<float>(i) : tensor.values[i]);
    }
    data += values.Pad().text();
  }
  return builder.Pad().Raw(data).text();
}

Result<std::unique_ptr<Checkpoint>> Open(const std::string& text) {
  auto gguf = GgufReader::FromFile(MmapFile::FromMemory("m.gguf", text));
  if (!gguf.ok()) return std::move(gguf).status();
  return Checkpoint::FromGguf(std::move(gguf).value());
}

const TensorRow kEmbedding{"token_embd.weight", {8, 6}, {}};

TEST(GgufModelTest, UndoesTheRowInterleavingOfLlama) {
  // Stored row r holds 10 r, 10 r + 1: head 0 is rows 0..3 stored as pairs (0, 2), (1, 3).
  std::vector<float> rows;
  for (int row = 0; row < 8; ++row) {
    rows.push_back(static_cast<float>(10 * row));
    rows.push_back(static_cast<float>(10 * row + 1));
  }
  const auto model = Open(MakeGguf("llama", {kEmbedding,
                                             {"blk.0.attn_q.weight", {2, 8}, rows},
                                             {"blk.0.attn_q.bias", {8}, {}},
                                             {"blk.0.attn_k.weight", {2, 4}, {}},
                                             {"blk.0.attn_v.weight", {2, 4}, {}}}));
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const StoredTensor* q = (*model)->Find("model.layers.0.self_attn.q_proj.weight");
  ASSERT_NE(q, nullptr);
  std::vector<float> values(16);
  ASSERT_TRUE((*model)->ReadRowsF32(*q, 0, 8, values.data()).ok());
  std::vector<float> first_of_row;
  for (size_t i = 0; i < 8; ++i) first_of_row.push_back(values[2 * i]);
  EXPECT_THAT(first_of_row, ::testing::ElementsAre(0, 20, 10, 30, 40, 60, 50, 70));
  // A part of the rows, and raw bytes, follow the same order.
  float row[2] = {};
  ASSERT_TRUE((*model)->ReadRowsBytes(*q, 5, 1, row).ok());
  EXPECT_EQ(row[1], 61.0f);
  const StoredTensor* bias = (*model)->Find("model.layers.0.self_attn.q_proj.bias");
  ASSERT_TRUE((*model)->ReadRowsF32(*bias, 0, 8, values.data()).ok());
  EXPECT_THAT(std::vector<float>(values.begin(), values.begin() + 8),
              ::testing::ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_EQ((*model)->Find("model.layers.0.self_attn.v_proj.weight")->interleaved_heads, 0);
}

TEST(GgufModelTest, QwenRowsStayInOrder) {
  const auto model = Open(MakeGguf("qwen2", {kEmbedding, {"blk.1.attn_q.weight", {2, 8}, {}}}));
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_EQ((*model)->Find("model.layers.1.self_attn.q_proj.weight")->StoredRow(1), 1);
}

TEST(GgufModelTest, SplitsStackedExperts) {
  const auto model = Open(MakeGguf("llama",
                                   {kEmbedding,
                                    {"blk.0.ffn_gate_inp.weight", {8, 2}, {}},
                                    {"blk.0.ffn_down_exps.weight", {2, 3, 2}, {}},
                                    {"blk.1.ffn_up.1.weight", {2, 3}, {}}},
                                   {{"llama.expert_count", 2}, {"llama.expert_used_count", 1}}));
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_EQ((*model)->config()["architectures"][0], "MixtralForCausalLM");
  EXPECT_EQ((*model)->config()["num_local_experts"], 2);
  const StoredTensor* expert =
      (*model)->Find("model.layers.0.block_sparse_moe.experts.1.w2.weight");
  ASSERT_NE(expert, nullptr);
  EXPECT_EQ(expert->shape, (Shape{3, 2}));
  float values[6] = {};
  ASSERT_TRUE((*model)->ReadRowsF32(*expert, 0, 3, values).ok());
  EXPECT_EQ(values[0], 6.0f);
  EXPECT_NE((*model)->Find("model.layers.0.block_sparse_moe.gate.weight"), nullptr);
  EXPECT_NE((*model)->Find("model.layers.1.block_sparse_moe.experts.1.w3.weight"), nullptr);
}

TEST(GgufModelTest, SubtractsOneFromGemmaNorms) {
  const auto model = Open(MakeGguf("gemma2", {kEmbedding, {"blk.0.ffn_norm.weight", {2}, {}}},
                                   {{"gemma2.attention.sliding_window", 32}}));
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const StoredTensor* norm = (*model)->Find("model.layers.0.pre_feedforward_layernorm.weight");
  ASSERT_NE(norm, nullptr);
  float values[2] = {};
  ASSERT_TRUE((*model)->ReadRowsF32(*norm, 0, 2, values).ok());
  EXPECT_THAT(values, ::testing::ElementsAre(-1.0f, 0.0f));
  EXPECT_EQ((*model)->config()["query_pre_attn_scalar"], 4);
  EXPECT_EQ((*model)->config()["sliding_window"], 32);
}

TEST(GgufModelTest, BuildsTheConfig) {
  const auto model = Open(MakeGguf("llama", {kEmbedding, {"output.weight", {8, 6}, {}}},
                                   {{"tokenizer.ggml.eos_token_id", 5}}));
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const Json& config = (*model)->config();
  EXPECT_EQ(config["vocab_size"], 6);
  EXPECT_EQ(config["head_dim"], 4);
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["tie_word_embeddings"], false);
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(config["eos_token_id"], 5);
  EXPECT_FALSE(config.contains("bos_token_id"));
  EXPECT_FALSE(config.contains("rope_scaling"));
}

TEST(GgufModelTest, RecoversLlama3RopeScalingOrRefuses) {
  // Head 4 has two frequencies; at base 4e6 the second has a wavelength of 12566 > 8192 positions
  // and is divided by the full factor.
  const std::vector<std::pair<std::string, uint32_t>> base = {{"llama.rope.freq_base", 4000000}};
  const auto model =
      Open(MakeGguf("llama", {kEmbedding, {"rope_freqs.weight", {2}, {1.0f, 32.0f}}}, base));
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  const Json& scaling = (*model)->config()["rope_scaling"];
  EXPECT_EQ(scaling["rope_type"], "llama3");
  EXPECT_EQ(scaling["factor"], 32.0);
  EXPECT_EQ(scaling["original_max_position_embeddings"], 8192);
  const auto plain =
      Open(MakeGguf("llama", {kEmbedding, {"rope_freqs.weight", {2}, {1.0f, 1.0f}}}));
  ASSERT_TRUE(plain.ok()) << plain.status().ToString();
  EXPECT_FALSE((*plain)->config().contains("rope_scaling"));
  const auto odd = Open(MakeGguf("llama", {kEmbedding, {"rope_freqs.weight", {2}, {1.0f, 3.0f}}}));
  EXPECT_EQ(odd.status().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(odd.status().message(), HasSubstr("rope_freqs.weight"));
}

TEST(GgufModelTest, RefusesWhatItCannotTranslate) {
  EXPECT_THAT(Open(MakeGguf("mamba", {kEmbedding})).status().message(),
              HasSubstr("architecture 'mamba', want llama"));
  EXPECT_THAT(
      Open(MakeGguf("llama", {kEmbedding, {"blk.0.mystery.weight", {2}, {}}})).status().message(),
      HasSubstr("m.gguf: tensor 'blk.0.mystery.weight': has no counterpart"));
  EXPECT_THAT(Open(MakeGguf("llama", {})).status().message(),
              HasSubstr("'token_embd.weight' is missing"));
  EXPECT_THAT(
      Open(MakeGguf("llama", {kEmbedding, {"blk.0.attn_q.weight", {2, 6}, {}}})).status().message(),
      HasSubstr("6 rows do not divide into 2 heads"));
  EXPECT_THAT(Open(MakeGguf("llama", {kEmbedding}, {{"tokenizer.ggml.bos_token_id", 6}}))
                  .status()
                  .message(),
              HasSubstr("the vocabulary has 6"));
}

}  // namespace
}  // namespace octavo
