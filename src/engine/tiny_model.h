// SPDX-License-Identifier: Apache-2.0
// For tests: writes a random two-layer Llama with a byte-level tokenizer into a temporary folder.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "io/safetensors_writer.h"
#include "tokenizer/byte_map.h"

namespace octavo::testing {

// Owns the folder and removes it. Vocabulary: 256 bytes, <s> (256), </s> (257), padded to 272.
class TinyModel {
 public:
  static constexpr int64_t kHidden = 64;
  static constexpr int64_t kIntermediate = 128;
  static constexpr int64_t kVocab = 272;
  static constexpr int32_t kEos = 257;

  // `sliding_window` > 0: a Mistral with that window.
  explicit TinyModel(int64_t sliding_window = 0) {
    static int counter = 0;
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("octavo_tiny_" + std::to_string(::getpid()) + "_" + std::to_string(counter++));
    std::filesystem::create_directories(folder_);
    WriteConfig(sliding_window);
    WriteTokenizer();
    WriteWeights();
  }
  ~TinyModel() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  std::string path() const { return folder_.string(); }

 private:
  void Write(const std::string& name, const Json& json) {
    ASSERT_TRUE(WriteFileAtomically((folder_ / name).string(), DumpJson(json)).ok());
  }

  void WriteConfig(int64_t sliding_window) {
    Json config = {
        {"architectures", {sliding_window > 0 ? "MistralForCausalLM" : "LlamaForCausalLM"}},
        {"model_type", sliding_window > 0 ? "mistral" : "llama"},
        {"hidden_size", kHidden},
        {"intermediate_size", kIntermediate},
        {"num_hidden_layers", kLayers},
        {"num_attention_heads", 4},
        {"num_key_value_heads", 2},
        {"vocab_size", kVocab},
        {"max_position_embeddings", 512},
        {"rms_norm_eps", 1e-5},
        {"rope_theta", 10000.0},
        {"tie_word_embeddings", false},
        {"torch_dtype", "float32"},
        {"eos_token_id", kEos}};
    if (sliding_window > 0) config["sliding_window"] = sliding_window;
    Write("config.json", config);
    Write("generation_config.json", {{"temperature", 0.7}, {"top_k", 20}});
  }

  void WriteTokenizer() {
    Json vocab = Json::object();
    for (int byte = 0; byte < 256; ++byte) {
      vocab[MapBytes(std::string(1, static_cast<char>(byte)))] = byte;
    }
    const auto added = [](int id, const char* content) {
      return Json{{"id", id},        {"content", content}, {"single_word", false},
                  {"lstrip", false}, {"rstrip", false},    {"normalized", false},
                  {"special", true}};
    };
    const Json byte_level = {{"type", "ByteLevel"},
                             {"add_prefix_space", false},
                             {"trim_offsets", true},
                             {"use_regex", true}};
    Write("tokenizer.json", {{"version", "1.0"},
                             {"truncation", nullptr},
                             {"padding", nullptr},
                             {"added_tokens", {added(256, "<s>"), added(257, "</s>")}},
                             {"normalizer", nullptr},
                             {"pre_tokenizer", byte_level},
                             {"post_processor", nullptr},
                             {"decoder", byte_level},
                             {"model",
                              {{"type", "BPE"},
                               {"dropout", nullptr},
                               {"unk_token", nullptr},
                               {"continuing_subword_prefix", nullptr},
                               {"end_of_word_suffix", nullptr},
                               {"fuse_unk", false},
                               {"byte_fallback", false},
                               {"vocab", vocab},
                               {"merges", Json::array()}}}});
    Write("tokenizer_config.json",
          {{"bos_token", "<s>"},
           {"eos_token", "</s>"},
           {"chat_template",
            "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant] {% endif %}"}});
  }

  void WriteWeights() {
    std::vector<TensorSpec> specs;
    const auto add = [&](const std::string& name, const Shape& shape) {
      specs.push_back({name, DType::kF32, shape});
    };
    add("model.embed_tokens.weight", {kVocab, kHidden});
    for (int layer = 0; layer < kLayers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      add(prefix + "input_layernorm.weight", {kHidden});
      add(prefix + "self_attn.q_proj.weight", {kHidden, kHidden});
      add(prefix + "self_attn.k_proj.weight", {kHidden / 2, kHidden});
      add(prefix + "self_attn.v_proj.weight", {kHidden / 2, kHidden});
      add(prefix + "self_attn.o_proj.weight", {kHidden, kHidden});
      add(prefix + "post_attention_layernorm.weight", {kHidden});
      add(prefix + "mlp.gate_proj.weight", {kIntermediate, kHidden});
      add(prefix + "mlp.up_proj.weight", {kIntermediate, kHidden});
      add(prefix + "mlp.down_proj.weight", {kHidden, kIntermediate});
    }
    add("model.norm.weight", {kHidden});
    add("lm_head.weight", {kVocab, kHidden});
    auto writer = SafetensorsWriter::Create((folder_ / "model.safetensors").string(), specs, {});
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    std::mt19937 rng(7);
    for (const TensorSpec& spec : specs) {
      std::vector<float> values(static_cast<size_t>(spec.shape.NumElements()), 1.0f);
      const bool norm = spec.name.find("norm") != std::string::npos;
      const bool embedding = spec.name.find("embed") != std::string::npos;
      std::normal_distribution<float> normal(0, embedding ? 1.0f : 0.25f);
      for (float& value : values) value = norm ? 1.0f : normal(rng);
      ASSERT_TRUE((*writer)->WriteTensor(spec.name, std::as_bytes(std::span(values))).ok());
    }
    ASSERT_TRUE((*writer)->Finish().ok());
  }

  static constexpr int kLayers = 2;
  std::filesystem::path folder_;
};

}  // namespace octavo::testing
