// SPDX-License-Identifier: Apache-2.0
// GGUF metadata to the config.json that the same model has on the hub.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "io/gguf_model.h"

namespace octavo {
namespace {

// Shape of a model known only by the size of its checkpoint: Gemma's largest versions scale queries
// by hidden_size / heads instead of head_dim, which GGUF does not record.
struct QueryScaleException {
  std::string_view architecture;
  int64_t num_layers;
};
constexpr std::array kQueryScaleExceptions = {QueryScaleException{"gemma2", 46},
                                              QueryScaleException{"gemma3", 62}};

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();

// GGUF keeps 1e-5 as an f32, 9.99999975e-06; the shortest decimal that gives this f32 is what
// config.json had.
double ShortestDecimal(double value) {
  const auto narrow = static_cast<float>(value);
  if (!std::isfinite(narrow) || static_cast<double>(narrow) != value) return value;
  const std::string text = fmt::format("{}", narrow);
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string ModelTypeOf(const GgufReader& gguf) {
  const GgufMetadata& metadata = gguf.metadata();
  if (gguf.architecture() == "llama" && metadata.Find("llama.expert_count") != nullptr) {
    const auto count = metadata.GetIntOr("llama.expert_count", 0);
    if (count.ok() && *count > 0) return "mixtral";
  }
  if (gguf.architecture() == "gemma3") return "gemma3_text";
  return gguf.architecture();
}

std::string ClassOf(const std::string& model_type) {
  if (model_type == "mixtral") return "MixtralForCausalLM";
  if (model_type == "qwen2") return "Qwen2ForCausalLM";
  if (model_type == "qwen3") return "Qwen3ForCausalLM";
  if (model_type == "gemma2") return "Gemma2ForCausalLM";
  if (model_type == "gemma3_text") return "Gemma3ForCausalLM";
  if (model_type == "phi3") return "Phi3ForCausalLM";
  return "LlamaForCausalLM";
}

// Builds the config key by key; every getter's error names the metadata key.
class ConfigBuilder {
 public:
  explicit ConfigBuilder(const GgufReader& gguf) : gguf_(gguf), metadata_(gguf.metadata()) {}

  Result<Json> Run() {
    const std::string model_type = ModelTypeOf(gguf_);
    config_["architectures"] = Json::array({ClassOf(model_type)});
    config_["model_type"] = model_type;
    OCTAVO_RETURN_IF_ERROR(AddSizes());
    OCTAVO_RETURN_IF_ERROR(AddEmbedding());
    OCTAVO_RETURN_IF_ERROR(AddTokens());
    OCTAVO_RETURN_IF_ERROR(AddRope());
    OCTAVO_RETURN_IF_ERROR(AddFamily(model_type));
    return std::move(config_);
  }

 private:
  std::string Key(std::string_view name) const {
    return fmt::format("{}.{}", gguf_.architecture(), name);
  }

  // Copies an integer >= `min`. A negative fallback: the key must be there.
  Status AddInt(std::string_view name, const char* hf, int64_t min, int64_t fallback = -1) {
    const std::string key = Key(name);
    OCTAVO_ASSIGN_OR_RETURN(const int64_t value, fallback < 0 ? metadata_.GetInt(key)
                                                              : metadata_.GetIntOr(key, fallback));
    if (value < min || value > kMaxSize) {
      return InvalidArgument(
          fmt::format("metadata '{}' is {}, want {} to {}", key, value, min, kMaxSize));
    }
    config_[hf] = value;
    return Status::Ok();
  }

  Status AddDouble(std::string_view name, const char* hf, double fallback) {
    OCTAVO_ASSIGN_OR_RETURN(const double value, metadata_.GetDoubleOr(Key(name), fallback));
    if (!std::isfinite(value))
      return InvalidArgument(fmt::format("metadata '{}' is not finite", Key(name)));
    config_[hf] = ShortestDecimal(value);
    return Status::Ok();
  }

  bool Has(std::string_view name) const { return metadata_.Find(Key(name)) != nullptr; }
  int64_t Int(const char* hf) const { return config_[hf].get<int64_t>(); }

  Status AddSizes() {
    OCTAVO_RETURN_IF_ERROR(AddInt("embedding_length", "hidden_size", 1));
    OCTAVO_RETURN_IF_ERROR(AddInt("feed_forward_length", "intermediate_size", 1));
    OCTAVO_RETURN_IF_ERROR(AddInt("block_count", "num_hidden_layers", 1));
    OCTAVO_RETURN_IF_ERROR(AddInt("attention.head_count", "num_attention_heads", 1));
    const int64_t heads = Int("num_attention_heads");
    OCTAVO_RETURN_IF_ERROR(AddInt("attention.head_count_kv", "num_key_value_heads", 1, heads));
    OCTAVO_RETURN_IF_ERROR(
        AddInt("attention.key_length", "head_dim", 1, Int("hidden_size") / heads));
    OCTAVO_ASSIGN_OR_RETURN(const int64_t value_length,
                            metadata_.GetIntOr(Key("attention.value_length"), Int("head_dim")));
    if (value_length != Int("head_dim")) {
      return Unimplemented(fmt::format("value heads of {} elements, want {} as for keys",
                                       value_length, Int("head_dim")));
    }
    OCTAVO_RETURN_IF_ERROR(AddInt("context_length", "max_position_embeddings", 1));
    return AddDouble("attention.layer_norm_rms_epsilon", "rms_norm_eps", 1e-6);
  }

  // Vocabulary, tying and dtype follow from the tensors themselves.
  Status AddEmbedding() {
    const GgufTensor* embedding = gguf_.Find("token_embd.weight");
    if (embedding == nullptr) return NotFound("tensor 'token_embd.weight' is missing");
    if (embedding->shape.rank() != 2) {
      return DataLoss(fmt::format("tensor 'token_embd.weight': shape {}, want 2 dimensions",
                                  embedding->shape.ToString()));
    }
    config_["vocab_size"] = embedding->shape[0];
    config_["tie_word_embeddings"] = gguf_.Find("output.weight") == nullptr;
    const char* dtype = embedding->type == GgmlType::kF32   ? "float32"
                        : embedding->type == GgmlType::kF16 ? "float16"
                                                            : "bfloat16";
    config_["torch_dtype"] = dtype;
    config_["dtype"] = dtype;
    return Status::Ok();
  }

  Status AddTokens() {
    for (const auto& [name, hf] :
         {std::pair("bos", "bos_token_id"), std::pair("eos", "eos_token_id"),
          std::pair("padding", "pad_token_id")}) {
      const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
      if (metadata_.Find(key) == nullptr) continue;
      OCTAVO_ASSIGN_OR_RETURN(const int64_t id, metadata_.GetInt(key));
      if (id < 0 || id >= Int("vocab_size")) {
        return InvalidArgument(fmt::format("metadata '{}' is {}, the vocabulary has {} tokens", key,
                                           id, Int("vocab_size")));
      }
      config_[hf] = id;
    }
    return Status::Ok();
  }

  Status AddRope() {
    OCTAVO_RETURN_IF_ERROR(AddDouble("rope.freq_base", "rope_theta", 10000.0));
    OCTAVO_ASSIGN_OR_RETURN(const int64_t rotary,
                            metadata_.GetIntOr(Key("rope.dimension_count"), Int("head_dim")));
    if (rotary < 2 || rotary > Int("head_dim")) {
      return InvalidArgument(fmt::format("metadata '{}' is {}, want 2 to {}",
                                         Key("rope.dimension_count"), rotary, Int("head_dim")));
    }
    if (rotary != Int("head_dim")) {
      config_["partial_rotary_factor"] =
          static_cast<double>(rotary) / static_cast<double>(Int("head_dim"));
    }
    if (gguf_.Find("rope_freqs.weight") != nullptr) return AddLlama3Scaling(rotary);
    if (gguf_.Find("rope_factors_long.weight") != nullptr) return AddLongRope(rotary);
    OCTAVO_ASSIGN_OR_RETURN(const std::string type,
                            metadata_.GetStringOr(Key("rope.scaling.type"), "none"));
    OCTAVO_ASSIGN_OR_RETURN(const double factor,
                            metadata_.GetDoubleOr(Key("rope.scaling.factor"), 1.0));
    if (type == "none" || (type == "linear" && factor == 1.0)) return Status::Ok();
    config_["rope_scaling"] = {{"rope_type", type}, {"factor", ShortestDecimal(factor)}};
    if (!Has("rope.scaling.original_context_length")) return Status::Ok();
    OCTAVO_ASSIGN_OR_RETURN(const int64_t original,
                            metadata_.GetInt(Key("rope.scaling.original_context_length")));
    config_["rope_scaling"]["original_max_position_embeddings"] = original;
    return Status::Ok();
  }

  // A table of rotary / 2 f32 values.
  Result<std::vector<float>> ReadTable(const char* name, int64_t rotary) const {
    const GgufTensor* tensor = gguf_.Find(name);
    if (tensor == nullptr) return NotFound(fmt::format("tensor '{}' is missing", name));
    if (tensor->type != GgmlType::kF32 || tensor->shape.NumElements() != rotary / 2) {
      return DataLoss(fmt::format("tensor '{}': {} {}, want F32 [{}]", name,
                                  InfoOf(tensor->type).name, tensor->shape.ToString(), rotary / 2));
    }
    std::vector<float> values(static_cast<size_t>(rotary / 2));
    OCTAVO_RETURN_IF_ERROR(gguf_.file().ReadRange(tensor->offset, tensor->bytes, values.data()));
    return values;
  }

  // The file has only the frequency divisors. They are those of Llama 3's rule with its published
  // constants, or the file is refused: guessing would give silently wrong numbers.
  Status AddLlama3Scaling(int64_t rotary) {
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<float> divisors,
                            ReadTable("rope_freqs.weight", rotary));
    constexpr double kLow = 1.0;
    constexpr double kHigh = 4.0;
    constexpr double kOriginal = 8192.0;
    const auto factor = static_cast<double>(*std::max_element(divisors.begin(), divisors.end()));
    for (size_t i = 0; i < divisors.size(); ++i) {
      const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(rotary);
      const double wavelength =
          2.0 * std::numbers::pi * std::pow(config_["rope_theta"].get<double>(), exponent);
      const double smooth = std::clamp((kOriginal / wavelength - kLow) / (kHigh - kLow), 0.0, 1.0);
      const double want = 1.0 / ((1.0 - smooth) / factor + smooth);
      if (!(std::abs(static_cast<double>(divisors[i]) - want) <= 1e-3 * want)) {
        return Unimplemented(
            fmt::format("tensor 'rope_freqs.weight': divisor {} is {}, Llama 3's rule gives {}", i,
                        divisors[i], want));
      }
    }
    if (factor == 1.0) return Status::Ok();
    config_["rope_scaling"] = {{"rope_type", "llama3"},
                               {"factor", ShortestDecimal(factor)},
                               {"low_freq_factor", kLow},
                               {"high_freq_factor", kHigh},
                               {"original_max_position_embeddings", 8192}};
    return Status::Ok();
  }

  Status AddLongRope(int64_t rotary) {
    OCTAVO_ASSIGN_OR_RETURN(const auto long_factor, ReadTable("rope_factors_long.weight", rotary));
    OCTAVO_ASSIGN_OR_RETURN(const auto short_factor,
                            ReadTable("rope_factors_short.weight", rotary));
    OCTAVO_RETURN_IF_ERROR(
        AddInt("rope.scaling.original_context_length", "original_max_position_embeddings", 1));
    Json scaling = {
        {"rope_type", "longrope"}, {"long_factor", Json::array()}, {"short_factor", Json::array()}};
    for (const float value : long_factor) {
      scaling["long_factor"].push_back(ShortestDecimal(static_cast<double>(value)));
    }
    for (const float value : short_factor) {
      scaling["short_factor"].push_back(ShortestDecimal(static_cast<double>(value)));
    }
    config_["rope_scaling"] = std::move(scaling);
    return Status::Ok();
  }

  Status AddFamily(const std::string& model_type) {
    if (gguf_.architecture().starts_with("gemma")) return AddGemma();
    config_["hidden_act"] = "silu";
    if (model_type == "llama") {
      config_["attention_bias"] = gguf_.Find("blk.0.attn_q.bias") != nullptr;
      config_["mlp_bias"] = gguf_.Find("blk.0.ffn_gate.bias") != nullptr;
    }
    if (model_type == "mixtral") {
      OCTAVO_RETURN_IF_ERROR(AddInt("expert_count", "num_local_experts", 1));
      OCTAVO_RETURN_IF_ERROR(AddInt("expert_used_count", "num_experts_per_tok", 1));
    }
    if (model_type == "qwen2") config_["use_sliding_window"] = false;
    if (model_type == "qwen3") {
      config_["attention_bias"] = false;
      config_["use_sliding_window"] = false;
    }
    if (model_type == "phi3" && Has("attention.sliding_window")) {
      OCTAVO_RETURN_IF_ERROR(AddInt("attention.sliding_window", "sliding_window", 1));
    }
    return Status::Ok();
  }

  Status AddGemma() {
    config_["hidden_activation"] = "gelu_pytorch_tanh";
    const auto is_exception = [&](const QueryScaleException& row) {
      return row.architecture == gguf_.architecture() && row.num_layers == Int("num_hidden_layers");
    };
    config_["query_pre_attn_scalar"] =
        std::any_of(kQueryScaleExceptions.begin(), kQueryScaleExceptions.end(), is_exception)
            ? Int("hidden_size") / Int("num_attention_heads")
            : Int("head_dim");
    OCTAVO_RETURN_IF_ERROR(AddInt("attention.sliding_window", "sliding_window", 1));
    if (gguf_.architecture() == "gemma3") {
      OCTAVO_RETURN_IF_ERROR(AddDouble("rope.freq_base_swa", "rope_local_base_freq", 10000.0));
      config_["sliding_window_pattern"] = 6;
      return Status::Ok();
    }
    OCTAVO_RETURN_IF_ERROR(AddDouble("attn_logit_softcapping", "attn_logit_softcapping", 50.0));
    return AddDouble("final_logit_softcapping", "final_logit_softcapping", 30.0);
  }

  const GgufReader& gguf_;
  const GgufMetadata& metadata_;
  Json config_;
};

}  // namespace

Result<Json> MakeGgufConfig(const GgufReader& gguf) { return ConfigBuilder(gguf).Run(); }

Result<GgufModel> MapGgufModel(const GgufReader& gguf) {
  GgufModel model;
  OCTAVO_ASSIGN_OR_RETURN(model.tensors, MapGgufTensors(gguf));
  OCTAVO_ASSIGN_OR_RETURN(model.config, MakeGgufConfig(gguf));
  return model;
}

}  // namespace octavo
