// SPDX-License-Identifier: Apache-2.0
// Llama 2 and 3, and Mistral, which is a Llama with a sliding window.
#include "models/llama_like.h"

namespace octavo {
namespace {

Result<ModelConfig> ParseConfig(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(ModelConfig config, ParseLlamaLikeConfig(json));
  OCTAVO_ASSIGN_OR_RETURN(config.qkv_bias, GetBoolOr(json, "attention_bias", false));
  config.o_bias = config.qkv_bias;
  OCTAVO_ASSIGN_OR_RETURN(config.mlp_bias, GetBoolOr(json, "mlp_bias", false));
  if (config.architecture == "MistralForCausalLM") {
    // Mistral's window is 4096 when the key is absent; null switches it off.
    const int64_t fallback = json.contains("sliding_window") ? 0 : 4096;
    OCTAVO_ASSIGN_OR_RETURN(const int64_t window, GetIntOr(json, "sliding_window", fallback, 0,
                                                           int64_t{1} << 31));
    config.layer_windows.assign(static_cast<size_t>(config.num_layers), window);
  }
  return config;
}

}  // namespace

extern const ModelArch kArch_llama;
const ModelArch kArch_llama = {
    .name = "llama",
    .hf_architectures = {"LlamaForCausalLM", "MistralForCausalLM"},
    .parse_config = ParseConfig,
    .load = LoadLlamaLike,
    .weight_map = LlamaLikeWeightMap(),
    .smoothing = LlamaLikeSmoothing(),
    .smoothing_strength = 0.85f,
    .residual_writers = {"o_proj", "down_proj"},
};

}  // namespace octavo
