// SPDX-License-Identifier: Apache-2.0
// A Hugging Face config as GGUF metadata: the inverse of MakeGgufConfig (gguf_model.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/gguf_writer.h"
#include "octavo/status.h"

namespace octavo {

struct GgufModelHeader {
  std::string architecture;  // "llama", "qwen2", ...
  // Heads whose q (k) rows GGUF interleaves; 0 when the architecture keeps Hugging Face's order.
  int64_t interleaved_q_heads = 0;
  int64_t interleaved_k_heads = 0;
  bool norms_plus_one = false;  // Gemma: norm weights are stored as w + 1
  std::vector<float> rope_freqs;  // tensor rope_freqs.weight, when not empty
};

// Adds general.architecture and the architecture's own keys. `config` is normalized (hf_config.h).
// Errors: Unimplemented for what the reader of GGUF would lose: other architectures, sliding windows of
// Mistral and Qwen2, rope scaling other than linear and Llama 3's published constants.
Result<GgufModelHeader> AddGgufModelHeader(const Json& config, GgufMetadataWriter& metadata);

}  // namespace octavo
