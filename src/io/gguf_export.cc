// SPDX-License-Identifier: Apache-2.0
// Writes the keys that MakeGgufConfig reads.
#include "io/gguf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string_view>

namespace octavo {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kArchitectures = {{
    {"llama", "llama"},
    {"mistral", "llama"},
    {"mixtral", "llama"},
    {"qwen2", "qwen2"},
    {"qwen3", "qwen3"},
    {"gemma2", "gemma2"},
    {"gemma3_text", "gemma3"},
    {"phi3", "phi3"},
}};

constexpr int64_t kMaxSize = int64_t{1} << 31;

// Reads the config and writes keys "ARCHITECTURE.NAME".
class HeaderBuilder {
 public:
  HeaderBuilder(const Json& config, GgufMetadataWriter& metadata)
      : config_(config), metadata_(metadata) {}

  Result<GgufModelHeader> Run() {
    OCTAVO_ASSIGN_OR_RETURN(model_type_, GetString(config_, "model_type"));
    for (const auto& [type, architecture] : kArchitectures) {
      if (type == model_type_) header_.architecture = architecture;
    }
    if (header_.architecture.empty()) {
      return Unimplemented(fmt::format("model_type '{:.60}' has no GGUF form here (want llama, mistral, "
                                       "mixtral, qwen2, qwen3, gemma2, gemma3_text or phi3)", model_type_));
    }
    metadata_.String("general.architecture", header_.architecture);
    OCTAVO_RETURN_IF_ERROR(AddSizes());
    OCTAVO_RETURN_IF_ERROR(AddRope());
    OCTAVO_RETURN_IF_ERROR(AddWindow());
    OCTAVO_RETURN_IF_ERROR(AddFamily());
    return std::move(header_);
  }

 private:
  std::string Key(std::string_view name) const {
    return fmt::format("{}.{}", header_.architecture, name);
  }
  Result<int64_t> Int(std::string_view key) const { return GetInt(config_, key, 1, kMaxSize); }
  void PutInt(std::string_view name, int64_t value) {
    metadata_.U32(Key(name), static_cast<uint32_t>(value));
  }
  Status PutDouble(std::string_view name, std::string_view key, double fallback) {
    OCTAVO_ASSIGN_OR_RETURN(const double value, GetDoubleOr(config_, key, fallback));
    metadata_.F32(Key(name), static_cast<float>(value));
    return Status::Ok();
  }

  Status AddSizes() {
    for (const auto& [name, key] : {std::pair("embedding_length", "hidden_size"),
                                    std::pair("feed_forward_length", "intermediate_size"),
                                    std::pair("block_count", "num_hidden_layers"),
                                    std::pair("context_length", "max_position_embeddings"),
                                    std::pair("vocab_size", "vocab_size")}) {
      OCTAVO_ASSIGN_OR_RETURN(const int64_t value, Int(key));
      PutInt(name, value);
    }
    OCTAVO_ASSIGN_OR_RETURN(heads_, Int("num_attention_heads"));
    OCTAVO_ASSIGN_OR_RETURN(kv_heads_, GetIntOr(config_, "num_key_value_heads", heads_, 1, kMaxSize));
    OCTAVO_ASSIGN_OR_RETURN(const int64_t hidden, Int("hidden_size"));
    OCTAVO_ASSIGN_OR_RETURN(head_dim_, GetIntOr(config_, "head_dim", hidden / heads_, 1, kMaxSize));
    PutInt("attention.head_count", heads_);
    PutInt("attention.head_count_kv", kv_heads_);
    PutInt("attention.key_length", head_dim_);
    PutInt("attention.value_length", head_dim_);
    return PutDouble("attention.layer_norm_rms_epsilon", "rms_norm_eps", 1e-6);
  }

  Status AddRope() {
    const double default_theta = model_type_ == "mixtral" ? 1e6 : 1e4;
    OCTAVO_ASSIGN_OR_RETURN(theta_, GetDoubleOr(config_, "rope_theta", default_theta));
    OCTAVO_ASSIGN_OR_RETURN(const double partial, GetDoubleOr(config_, "partial_rotary_factor", 1.0));
    const double rotary = static_cast<double>(head_dim_) * partial;
    if (!(rotary >= 2 && rotary <= static_cast<double>(head_dim_))) {
      return InvalidArgument(fmt::format("'partial_rotary_factor' is {}, want above 0 to 1", partial));
    }
    rotary_ = static_cast<int64_t>(rotary);
    PutInt("rope.dimension_count", rotary_);
    metadata_.F32(Key("rope.freq_base"), static_cast<float>(theta_));
    const Json* scaling = Find(config_, "rope_scaling");
    if (scaling == nullptr) return Status::Ok();
    OCTAVO_ASSIGN_OR_RETURN(const std::string type, GetString(*scaling, "rope_type"));
    OCTAVO_ASSIGN_OR_RETURN(const double factor, GetDoubleOr(*scaling, "factor", 1.0));
    if (type == "llama3") return AddLlama3Divisors(*scaling, factor);
    if (type != "linear") {
      return Unimplemented(fmt::format("rope_scaling '{:.40}' has no GGUF form here", type));
    }
    metadata_.String(Key("rope.scaling.type"), "linear");
    metadata_.F32(Key("rope.scaling.factor"), static_cast<float>(factor));
    return Status::Ok();
  }

  // GGUF keeps the divisors alone, and its readers take them for the published constants'.
  Status AddLlama3Divisors(const Json& scaling, double factor) {
    constexpr double kLow = 1.0;
    constexpr double kHigh = 4.0;
    constexpr double kOriginal = 8192.0;
    OCTAVO_ASSIGN_OR_RETURN(const double low, GetDoubleOr(scaling, "low_freq_factor", kLow));
    OCTAVO_ASSIGN_OR_RETURN(const double high, GetDoubleOr(scaling, "high_freq_factor", kHigh));
    OCTAVO_ASSIGN_OR_RETURN(const double original,
                            GetDoubleOr(scaling, "original_max_position_embeddings", kOriginal));
    if (low != kLow || high != kHigh || original != kOriginal || !(factor >= 1)) {
      return Unimplemented(fmt::format(
          "rope_scaling llama3 with factors {}, {}, {} and {} positions (want low 1, high 4, 8192 positions)",
          factor, low, high, original));
    }
    for (int64_t i = 0; i < rotary_ / 2; ++i) {
      const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(rotary_);
      const double wavelength = 2.0 * std::numbers::pi * std::pow(theta_, exponent);
      const double smooth = std::clamp((kOriginal / wavelength - kLow) / (kHigh - kLow), 0.0, 1.0);
      header_.rope_freqs.push_back(static_cast<float>(1.0 / ((1.0 - smooth) / factor + smooth)));
    }
    return Status::Ok();
  }

  // Only Gemma's and Phi-3's windows have keys that readers use.
  Status AddWindow() {
    OCTAVO_ASSIGN_OR_RETURN(const int64_t window, GetIntOr(config_, "sliding_window", 0, 0, kMaxSize));
    const bool gemma = header_.architecture.starts_with("gemma");
    if (gemma || (model_type_ == "phi3" && window > 0)) {
      PutInt("attention.sliding_window", window);
      return Status::Ok();
    }
    OCTAVO_ASSIGN_OR_RETURN(const int64_t length, Int("max_position_embeddings"));
    const bool qwen = model_type_ == "qwen2" || model_type_ == "qwen3";
    OCTAVO_ASSIGN_OR_RETURN(const bool used, GetBoolOr(config_, "use_sliding_window", !qwen));
    if (window == 0 || window >= length || !used || model_type_ == "llama") return Status::Ok();
    return Unimplemented(
        fmt::format("a sliding window of {}: GGUF's '{}' has none, and other numbers would come out",
                    window, header_.architecture));
  }

  Status AddFamily() {
    if (header_.architecture == "llama") {
      header_.interleaved_q_heads = heads_;
      header_.interleaved_k_heads = kv_heads_;
    }
    if (model_type_ == "mixtral") {
      OCTAVO_ASSIGN_OR_RETURN(const int64_t experts, Int("num_local_experts"));
      OCTAVO_ASSIGN_OR_RETURN(const int64_t used, Int("num_experts_per_tok"));
      PutInt("expert_count", experts);
      PutInt("expert_used_count", used);
    }
    if (!header_.architecture.starts_with("gemma")) return Status::Ok();
    header_.norms_plus_one = true;
    if (header_.architecture == "gemma3") {
      return PutDouble("rope.freq_base_swa", "rope_local_base_freq", 10000.0);
    }
    OCTAVO_RETURN_IF_ERROR(PutDouble("attn_logit_softcapping", "attn_logit_softcapping", 50.0));
    return PutDouble("final_logit_softcapping", "final_logit_softcapping", 30.0);
  }

  const Json& config_;
  GgufMetadataWriter& metadata_;
  GgufModelHeader header_;
  std::string model_type_;
  int64_t heads_ = 0, kv_heads_ = 0, head_dim_ = 0, rotary_ = 0;
  double theta_ = 1e4;
};

}  // namespace

Result<GgufModelHeader> AddGgufModelHeader(const Json& config, GgufMetadataWriter& metadata) {
  return HeaderBuilder(config, metadata).Run();
}

}  // namespace octavo
