// SPDX-License-Identifier: Apache-2.0
// Set-up of offline benchmarks.
#include "cli/bench_engine.h"

#include <algorithm>
#include <random>

#include "cli/hub_model.h"
#include "cli/progress_bar.h"
#include "cli/report.h"

namespace octavo {

void AddBenchEngineOptions(CLI::App& app, BenchEngineOptions& options) {
  EngineOptions& e = options.engine;
  const auto add = [&app](const char* flag, auto& target, const char* help) {
    return app.add_option(flag, target, help)->capture_default_str();
  };
  app.add_option("MODEL", e.model, "Model folder, GGUF file or hub name ORG/NAME")->required();
  add("--input-len", options.input_len, "Prompt tokens per request");
  add("--output-len", options.output_len, "Generated tokens per choice");
  add("--n", options.n, "Choices per prompt");
  add("--dtype", e.dtype, "Arithmetic of unquantized weights: bfloat16 or float32");
  add("--quantization", e.quantization, "Quantize while loading: fp8, int8, ...");
  add("--kv-cache-dtype", e.kv_cache_dtype, "auto, bfloat16, fp8, fp8_e5m2, int8, int4, float32");
  add("--lm-head-dtype", e.lm_head_dtype, "bf16, int8 or int4; empty: as in the checkpoint");
  add("--gguf-activations", e.gguf_activations, "What a GGUF file's blocks meet: int8 or 16bit");
  add("--max-num-seqs", e.max_num_seqs, "Sequences that run at once");
  add("--max-num-batched-tokens", e.max_num_batched_tokens, "Tokens computed per step, at most");
  add("--max-model-len", e.max_model_len, "Longest prompt and output; 0: the model's own");
  add("--block-size", e.block_size, "Tokens per KV block");
  add("--num-kv-blocks,--num-gpu-blocks-override", e.num_kv_blocks, "KV blocks; 0: by memory");
  add("--kv-cache-memory-bytes", e.kv_cache_memory_bytes,
      "Memory for KV, e.g. 2GiB; 0: half of what is free")
      ->transform(CLI::AsSizeValue(false));
  add("--num-speculative-tokens", e.num_speculative_tokens, "Prompt look-up drafts; 0: off");
  add("-t,--threads", e.num_threads, "Compute threads; 0: one per CPU");
  add("--seed", e.seed, "Of prompts and sampling");
  app.add_flag("--no-enable-prefix-caching", options.no_prefix_caching,
               "Compute every prompt from its first token");
  AddJsonOption(app, options.json);
}

Result<std::unique_ptr<LLM>> CreateBenchEngine(const BenchEngineOptions& options) {
  EngineOptions engine = options.engine;
  OCTAVO_ASSIGN_OR_RETURN(engine.model, ResolveModel(engine.model));
  engine.enable_prefix_caching = !options.no_prefix_caching;
  if (engine.max_model_len == 0) engine.max_model_len = options.input_len + options.output_len;
  ProgressBar bar({.label = "load", .unit = ProgressBar::Unit::kBytes, .item_name = "bytes"});
  return LLM::Create(engine, [&bar](const LoadProgress& p) { bar.Update(p.done, p.total); });
}

std::vector<GenerationRequest> RandomRequests(const LlmEngine& engine,
                                              const BenchEngineOptions& options, int64_t count) {
  std::mt19937_64 rng(options.engine.seed);
  const auto vocab = static_cast<uint64_t>(engine.model_info().vocab_size);
  std::vector<GenerationRequest> requests(static_cast<size_t>(count));
  for (GenerationRequest& request : requests) {
    for (int64_t i = 0; i < options.input_len; ++i) {
      request.prompt_token_ids.push_back(static_cast<int32_t>(rng() % vocab));
    }
    request.params.temperature = options.n > 1 ? 1 : 0;
    request.params.n = options.n;
    request.params.max_tokens = options.output_len;
    request.params.ignore_eos = true;
    request.params.detokenize = false;
  }
  return requests;
}

Json DescribeRun(const LlmEngine& engine) {
  const ModelInfo& info = engine.model_info();
  const EngineOptions& o = engine.options();
  const EngineStats stats = engine.stats();
  return {{"model", info.path},
          {"dtype", info.dtype},
          {"quantization", o.quantization},
          {"kv_cache_dtype", info.kv_cache_dtype},
          {"isa", info.isa},
          {"num_threads", info.num_threads},
          {"max_num_seqs", o.max_num_seqs},
          {"max_num_batched_tokens", o.max_num_batched_tokens},
          {"block_size", info.block_size},
          {"num_kv_blocks", info.num_kv_blocks},
          {"weight_bytes", info.weight_bytes},
          {"kv_cache_bytes", info.kv_cache_bytes},
          {"num_steps", stats.num_steps},
          {"mean_running_seqs", stats.mean_running_seqs},
          {"num_preemptions", stats.num_preemptions},
          {"draft_tokens", stats.draft_tokens},
          {"accepted_draft_tokens", stats.accepted_draft_tokens},
          {"peak_rss_bytes", PeakRssBytes()}};
}

}  // namespace octavo
