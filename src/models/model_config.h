// SPDX-License-Identifier: Apache-2.0
// What every architecture knows about itself after reading config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "kernels/rope_table.h"
#include "octavo/status.h"

namespace octavo {

// Plain numbers under their Hugging Face names. Fields an architecture does not use keep their
// defaults. Topology is code in the architecture's file, never a flag here.
struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM"
  std::string model_type;    // "llama"
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double norm_eps = 1e-6;
  std::string hidden_act = "silu";
  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  int64_t num_experts = 0;  // mixture of experts; 0: dense
  int64_t num_experts_per_tok = 0;
  RopeConfig rope;
  std::vector<int64_t> layer_windows;  // per layer: sliding window, 0 = full attention
  std::string torch_dtype = "bfloat16";
  Json extra;  // the whole config, for fields only the architecture's own file reads
};

// Reads the fields that all decoder families share and checks their ranges (no zero or absurd sizes,
// heads divide, products fit), so that nothing later overflows.
Result<ModelConfig> ParseCommonConfig(const Json& config);

// Rotary settings of a normalized config.
Result<RopeConfig> ParseRopeConfig(const Json& config, int head_dim,
                                   int64_t max_position_embeddings);

}  // namespace octavo
