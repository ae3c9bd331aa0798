// SPDX-License-Identifier: Apache-2.0
// What an engine says about itself: load, counters, the model and what is really computed per
// layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace octavo {

// Prometheus-style histogram: counts[i] are observations <= bounds[i] and > bounds[i-1]; the last
// of bounds.size() + 1 counts holds the rest.
struct Histogram {
  std::vector<double> bounds;
  std::vector<uint64_t> counts;
  double sum = 0;
  uint64_t count = 0;
};

// A snapshot. Counters count from the engine's start and never fall; tests of monotony may rely on
// it.
struct EngineStats {
  // Now.
  int64_t num_running = 0;  // sequences that hold KV blocks
  int64_t num_waiting = 0;  // requests in the queue, preempted ones included
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_used = 0;    // held by running sequences
  int64_t kv_blocks_cached = 0;  // free, but still serving the prefix cache
  double kv_cache_usage = 0;     // used / total
  double prompt_tok_s = 0;       // computed prompt tokens, mean of about the last 5 seconds
  double generation_tok_s = 0;
  double step_ms = 0;            // moving average
  double mean_running_seqs = 0;  // per step, since the start

  // Counters.
  uint64_t num_steps = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generation_tokens = 0;
  uint64_t prefix_cache_queries = 0;  // tokens looked up
  uint64_t prefix_cache_hits = 0;     // tokens found
  uint64_t num_preemptions = 0;
  uint64_t blocks_copied = 0;  // copy-on-write
  uint64_t draft_tokens = 0;
  uint64_t accepted_draft_tokens = 0;
  uint64_t requests_stop = 0;  // finished, by reason
  uint64_t requests_length = 0;
  uint64_t requests_abort = 0;
  uint64_t requests_error = 0;

  // Seconds or tokens, with vLLM's bucket bounds.
  Histogram time_to_first_token_s;
  Histogram inter_token_latency_s;
  Histogram e2e_latency_s;
  Histogram queue_time_s;
  Histogram prefill_time_s;
  Histogram decode_time_s;
  Histogram request_prompt_tokens;
  Histogram request_generation_tokens;
  Histogram iteration_tokens;
};

// Facts that stay as they are after loading.
struct ModelInfo {
  std::string path;
  std::string architecture;  // "LlamaForCausalLM"
  std::string model_type;    // "llama"
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int64_t num_parameters = 0;
  int64_t max_model_len = 0;
  std::string dtype;  // of unquantized arithmetic
  std::string kv_cache_dtype;
  int32_t block_size = 0;
  int64_t num_kv_blocks = 0;
  uint64_t weight_bytes = 0;  // packed, in memory
  uint64_t kv_cache_bytes = 0;
  uint64_t arena_bytes = 0;
  uint64_t kv_bytes_per_token = 0;
  std::string isa;  // "avx512_bf16"
  int32_t num_threads = 0;
  std::vector<int32_t> eos_token_ids;
  bool has_chat_template = false;
};

// What one weight matrix really computes with.
struct LayerPrecision {
  std::string module;       // "model.layers.0.self_attn.q_proj"
  std::string scheme;       // "W4A16"
  std::string activation;   // "bf16"
  std::string accumulator;  // "f32", "int32"
  std::string kernel;       // "gemm_w4a16_avx512_bf16"
  int64_t n = 0;            // outputs
  int64_t k = 0;            // inputs
  double stored_bits = 0;   // per weight, scales included
};

}  // namespace octavo
