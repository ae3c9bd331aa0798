// SPDX-License-Identifier: Apache-2.0
// Flags of `octavo serve`, grouped as its --help shows them.
#include "cli/serve_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/json.h"

namespace octavo {
namespace {

// "--max-model-len,-m" -> "OCTAVO_MAX_MODEL_LEN".
std::string EnvName(std::string_view flag) {
  flag = flag.substr(0, flag.find(','));
  flag.remove_prefix(std::min(flag.find_first_not_of('-'), flag.size()));
  std::string name = "OCTAVO_";
  for (const char c : flag) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

// Adds options of one group, each with its environment twin.
class FlagAdder {
 public:
  FlagAdder(CLI::App& app, std::string group) : app_(app), group_(std::move(group)) {}

  template <typename T>
  CLI::Option* Add(const std::string& flag, T& target, const std::string& help) {
    return Finish(flag, app_.add_option(flag, target, help)->capture_default_str());
  }
  CLI::Option* AddSwitch(const std::string& flag, bool& target, const std::string& help) {
    return Finish(flag, app_.add_flag(flag, target, help));
  }

 private:
  CLI::Option* Finish(const std::string& flag, CLI::Option* option) {
    return option->envname(EnvName(flag))->group(group_);
  }

  CLI::App& app_;
  const std::string group_;
};

void AddModelFlags(CLI::App& app, EngineOptions& engine) {
  FlagAdder flags(app, "Model");
  app.add_option("model,--model", engine.model, "Hugging Face folder, GGUF file or hub name ORG/NAME")
      ->required()
      ->envname("OCTAVO_MODEL")
      ->group("Model");
  flags.Add("--tokenizer", engine.tokenizer, "Folder or file of the tokenizer, if not the model's");
  flags.Add("--chat-template", engine.chat_template, "Jinja file that replaces the model's template")
      ->check(CLI::ExistingFile);
  flags.Add("--dtype", engine.dtype, "Unquantized arithmetic: auto, bfloat16, float32");
  flags.Add("--quantization,-q", engine.quantization,
            "Quantize 16-bit weights while loading, e.g. fp8, int8, w4a16");
  flags.Add("--kv-cache-dtype", engine.kv_cache_dtype,
            "auto, bfloat16, float32, fp8, fp8_e5m2, int8, int4");
  flags.Add("--lm-head-dtype", engine.lm_head_dtype, "bf16, int8, int4; default: as stored");
  flags.Add("--gguf-activations", engine.gguf_activations,
            "What a GGUF file's blocks are multiplied with: int8 (a scale per 32 columns) or 16bit");
  flags.Add("--max-model-len", engine.max_model_len,
            "Longest prompt + output in tokens; 0: what the model and the memory allow");
  flags.Add("--seed", engine.seed, "For requests that bring none");
}

void AddEngineFlags(CLI::App& app, ServeFlags& all) {
  EngineOptions& engine = all.engine;
  FlagAdder flags(app, "Engine");
  flags.Add("--max-num-seqs", engine.max_num_seqs, "Sequences that run at once");
  flags.Add("--max-num-batched-tokens", engine.max_num_batched_tokens, "Tokens per step at most");
  flags.Add("--max-num-queued-reqs", engine.max_num_queued_reqs,
            "Requests that may wait; more are answered with 429");
  flags.Add("--long-prefill-token-threshold", engine.long_prefill_token_threshold,
            "Prompt tokens of one request per step at most; 0: no limit");
  flags.Add("--target-step-ms", engine.target_step_ms,
            "Shrink prefill chunks so that steps take about this long; 0: off, -1: 1.5 times a "
            "step without prefill while streams run");
  flags.Add("--scheduling-policy", all.scheduling_policy, "fcfs or priority")
      ->check(CLI::IsMember({"fcfs", "priority"}));
  flags.Add("--block-size", engine.block_size, "Tokens per KV block, a multiple of 16");
  flags.Add("--num-kv-blocks,--num-gpu-blocks-override", engine.num_kv_blocks,
            "KV blocks; 0: by memory");
  flags.Add("--kv-cache-memory-bytes", engine.kv_cache_memory_bytes,
            "Memory for KV, e.g. 2GiB; 0: half of what is free")
      ->transform(CLI::AsSizeValue(false));
  // Both spellings set the same option.
  flags.AddSwitch("--enable-prefix-caching,!--no-enable-prefix-caching",
                  engine.enable_prefix_caching, "Reuse the KV of equal prompt beginnings (on)");
  flags.Add("--num-speculative-tokens", engine.num_speculative_tokens,
            "Prompt lookup: tokens proposed per step; 0: off");
  flags.Add("--threads,-t", engine.num_threads, "Compute threads; 0: one per CPU");
  flags.Add("--max-logprobs", engine.max_logprobs, "Largest logprobs a request may ask for");
  flags.AddSwitch("--check-integrity", engine.check_integrity,
                  "Verify all KV bookkeeping after every step (for tests; slow)");
}

void AddListenFlags(CLI::App& app, ServeFlags& all) {
  server::HttpServerOptions& http = all.server.http;
  FlagAdder flags(app, "Network and access");
  flags.Add("--host", http.host, "Address to listen on; 0.0.0.0 lets other machines in");
  flags.Add("--port", http.port, "0: any free one");
  flags.Add("--uds", http.unix_socket, "Unix socket to listen on instead");
  flags.Add("--api-key", all.server.api.access.api_keys,
            "Key that requests must bring; may be given several times");
  flags.Add("--ssl-certfile", http.ssl_certfile, "PEM certificate chain: serve https");
  flags.Add("--ssl-keyfile", http.ssl_keyfile, "PEM key of the certificate");
  flags.Add("--ssl-ca-certs", http.ssl_ca_certs, "PEM: clients need a certificate signed by these");
  flags.Add("--allowed-origins", all.server.api.access.allowed_origins,
            "Web origins whose pages may use this server (CORS); * for any")
      ->delimiter(',');
  flags.Add("--allowed-hosts", all.server.api.access.allowed_hosts,
            "Further Host names to answer to, for a proxy in front; * for any")
      ->delimiter(',');
  flags.Add("--max-connections", http.max_connections, "Connections at once")
      ->check(CLI::Range(1, 100000));
  flags.Add("--max-request-bytes", http.limits.max_body_bytes, "Largest request body, e.g. 16MiB")
      ->transform(CLI::AsSizeValue(false));
  flags.Add("--header-timeout", all.header_timeout_s, "Seconds to send a request's headers")
      ->check(CLI::Range(1, 3600));
  flags.Add("--idle-timeout", all.idle_timeout_s, "Seconds a connection may wait between requests")
      ->check(CLI::Range(1, 86400));
  flags.Add("--shutdown-timeout", all.server.shutdown_timeout_s,
            "Seconds that running requests get when the server is stopped")
      ->check(CLI::Range(0, 86400));
}

void AddApiFlags(CLI::App& app, ServeFlags& all) {
  server::ApiOptions& api = all.server.api;
  FlagAdder flags(app, "API");
  flags.Add("--served-model-name", api.served_model_names,
            "Names clients use for the model; default: its file name and its path")
      ->delimiter(',');
  flags.Add("--generation-config", all.generation_config,
            "Sampling defaults: auto (the model's own) or none")
      ->check(CLI::IsMember({"auto", "none", "vllm"}));
  flags.Add("--override-generation-config", all.override_generation_config,
            "JSON of sampling defaults, e.g. '{\"temperature\": 0.7}'");
  flags.Add("--tool-call-parser", api.tool_call_parser, "auto, none, hermes, mistral, llama3_json");
  flags.Add("--reasoning-parser", api.reasoning_parser, "auto, none, think");
  flags.Add("--pooling", all.pooling, "Of /v1/embeddings: last or mean token")
      ->check(CLI::IsMember({"last", "mean"}));
  flags.AddSwitch("--trust-request-chat-template", api.trust_request_chat_template,
                  "Allow templates in requests");
  flags.AddSwitch("--access-log", all.access_log, "Log every reply");
  flags.AddSwitch("--no-page", all.no_page, "Do not serve the chat page");
}

// "models/smollm2-135m/" -> "smollm2-135m"; "x.gguf" -> "x".
std::string ShortName(const std::string& model) {
  std::filesystem::path path = std::filesystem::path(model).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  const std::string name =
      path.extension() == ".gguf" ? path.stem().string() : path.filename().string();
  return name.empty() || name == "." || name == ".." ? "model" : name;
}

}  // namespace

void AddServeFlags(CLI::App& app, ServeFlags& flags) {
  AddModelFlags(app, flags.engine);
  AddListenFlags(app, flags);
  AddApiFlags(app, flags);
  AddEngineFlags(app, flags);
}

Status ResolveServeFlags(ServeFlags& flags) {
  server::ApiOptions& api = flags.server.api;
  server::HttpServerOptions& http = flags.server.http;
  api.version = OCTAVO_VERSION;
  if (api.served_model_names.empty()) {
    api.served_model_names = {ShortName(flags.engine.model)};
    if (flags.engine.model != api.served_model_names[0]) {
      api.served_model_names.push_back(flags.engine.model);
    }
  }
  for (const std::string& key : api.access.api_keys) {
    if (key.empty()) return InvalidArgument("--api-key: empty key");
  }
  api.access.loopback_only = !http.unix_socket.empty() || server::IsLoopbackHost(http.host);
  api.limits.max_logprobs = flags.engine.max_logprobs;
  api.use_generation_config = flags.generation_config == "auto";
  api.pooling = flags.pooling == "mean" ? Pooling::kMean : Pooling::kLast;
  api.page = !flags.no_page;
  flags.engine.scheduling_policy = flags.scheduling_policy == "priority"
                                       ? SchedulingPolicy::kPriority
                                       : SchedulingPolicy::kFcfs;
  http.header_timeout = std::chrono::seconds(flags.header_timeout_s);
  http.idle_timeout = std::chrono::seconds(flags.idle_timeout_s);
  if (!flags.override_generation_config.empty()) {
    auto json = ParseJson(flags.override_generation_config);
    if (!json.ok()) return std::move(json).status().WithContext("--override-generation-config");
    if (!json->is_object()) return InvalidArgument("--override-generation-config: want an object");
    api.override_generation_config = *std::move(json);
  }
  return flags.engine.Validate();
}

}  // namespace octavo
