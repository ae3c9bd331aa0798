// SPDX-License-Identifier: Apache-2.0
// Qwen2 and Qwen2.5: Llama's graph with biases on q, k and v, and a window on the upper layers only.
#include "models/llama_like.h"

namespace octavo {
namespace {

Result<ModelConfig> ParseConfig(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(ModelConfig config, ParseLlamaLikeConfig(json));
  config.qkv_bias = true;
  OCTAVO_ASSIGN_OR_RETURN(const bool use_window, GetBoolOr(json, "use_sliding_window", false));
  if (use_window) {
    constexpr int64_t kMax = int64_t{1} << 31;
    OCTAVO_ASSIGN_OR_RETURN(const int64_t window,
                            GetIntOr(json, "sliding_window", 4096, 0, kMax));
    OCTAVO_ASSIGN_OR_RETURN(const int64_t first, GetIntOr(json, "max_window_layers", 28, 0, kMax));
    for (int64_t i = first; i < config.num_layers; ++i) {
      config.layer_windows[static_cast<size_t>(i)] = window;
    }
  }
  return config;
}

}  // namespace

extern const ModelArch kArch_qwen2;
const ModelArch kArch_qwen2 = {
    .name = "qwen2",
    .hf_architectures = {"Qwen2ForCausalLM"},
    .parse_config = ParseConfig,
    .load = LoadLlamaLike,
    .weight_map = LlamaLikeWeightMap(),
    .smoothing = LlamaLikeSmoothing(),
    .residual_writers = {"o_proj", "down_proj"},
};

}  // namespace octavo
