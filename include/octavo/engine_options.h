// SPDX-License-Identifier: Apache-2.0
// How an engine is set up; names are vLLM's engine arguments where it has them.
#pragma once

#include <cstdint>
#include <string>

#include "octavo/status.h"

namespace octavo {

enum class SchedulingPolicy : uint8_t {
  kFcfs,      // in order of arrival
  kPriority,  // smallest priority first, then arrival; may preempt running requests of a larger one
};

inline constexpr double kAutoTargetStepMs = -1;

struct EngineOptions {
  // A Hugging Face folder or a GGUF file.
  std::string model;
  // Folder or file of the tokenizer when it is not in `model`.
  std::string tokenizer;
  // Jinja chat template file that replaces the model's own; empty: the model's.
  std::string chat_template;

  // Type of unquantized arithmetic: "auto" (bfloat16), "bfloat16", "float32".
  std::string dtype = "auto";
  // Quantize 16-bit weights while loading: "" or a scheme such as "fp8", "int8", "w8a8".
  std::string quantization;
  // "auto" (the checkpoint's KV scheme if it names one, else bfloat16), "bfloat16", "float32",
  // "fp8" = "fp8_e4m3", "fp8_e5m2", "int8", "int4".
  std::string kv_cache_dtype = "auto";
  // "" (as in the checkpoint), "bf16", "int8", "int4".
  std::string lm_head_dtype;
  // What the blocks of a GGUF file are multiplied with: "int8" (a scale per token and 32 columns, as ggml
  // does) or "16bit".
  std::string gguf_activations = "int8";

  // Longest prompt + output in tokens; 0: the model's own maximum, lowered to what the KV pool
  // holds. Fixes the rope variant.
  int64_t max_model_len = 0;
  // Sequences that run at once. More means more throughput and slower single streams.
  int32_t max_num_seqs = 128;
  // Hard cap of tokens computed per step; sizes the activation arena. Larger prefills faster,
  // smaller gives running streams a steadier pace.
  int32_t max_num_batched_tokens = 2048;
  // Largest share of a step that one prompt may take; 0: no limit of its own.
  int32_t long_prefill_token_threshold = 0;
  // Aim at steps of this many milliseconds by shrinking prefill chunks, from measured step times;
  // 0: only the hard cap counts. kAutoTargetStepMs: while streams run, 1.5 times a step without
  // prefill, more when many prompts wait.
  double target_step_ms = kAutoTargetStepMs;
  // Requests that may wait, beyond the running ones; Submit then fails with ResourceExhausted.
  int32_t max_num_queued_reqs = 1024;
  SchedulingPolicy scheduling_policy = SchedulingPolicy::kFcfs;

  // Tokens per KV block, a multiple of 16. Smaller wastes less, larger costs less bookkeeping.
  int32_t block_size = 16;
  // KV pool size: the first that is set of num_kv_blocks (blocks), kv_cache_memory_bytes; else half
  // of the memory that is free after loading, at most what max_num_seqs x max_model_len can fill.
  int64_t num_kv_blocks = 0;
  uint64_t kv_cache_memory_bytes = 0;
  // Reuse the KV blocks of equal prompt beginnings. Results are the same bits either way.
  bool enable_prefix_caching = true;

  // Speculative decoding by prompt lookup: tokens proposed per step; 0: off. Never changes output.
  int32_t num_speculative_tokens = 0;
  // Lengths of the suffix that has to occur earlier.
  int32_t prompt_lookup_max = 4;
  int32_t prompt_lookup_min = 2;

  // Compute threads including the step thread; 0: one per CPU this process may use.
  int32_t num_threads = 0;
  // Seed for requests that bring none.
  uint64_t seed = 0;
  // Largest value SamplingParams::logprobs and prompt_logprobs may take.
  int32_t max_logprobs = 20;

  // Verify all block bookkeeping after every step (tests; costs time in proportion to the pool).
  bool check_integrity = false;

  // InvalidArgument naming the option, what it is and what is allowed.
  Status Validate() const;
};

}  // namespace octavo
