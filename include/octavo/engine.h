// SPDX-License-Identifier: Apache-2.0
// LlmEngine: loads one model and serves many requests at once by continuous batching.
//
//   EngineOptions options;
//   options.model = "path/to/model";
//   auto engine = LlmEngine::Create(options);
//   GenerationRequest request;
//   request.prompt = "Once upon a time";
//   auto id = (*engine)->Submit(request, [](RequestOutput output) { ... });
//
// Threads: every method may be called from any thread. Three kinds of thread do the work: the
// caller's tokenizes in Submit, the step thread computes, the output thread detokenizes, finds stop
// strings and runs the callbacks. For offline batches see LLM in octavo/llm.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/engine_options.h"
#include "octavo/engine_stats.h"
#include "octavo/request_output.h"
#include "octavo/sampling_params.h"
#include "octavo/status.h"

namespace octavo {

// How an embedding request makes one vector of the prompt's hidden states (after the final norm).
enum class Pooling : uint8_t { kNone, kLast, kMean };

struct GenerationRequest {
  // The prompt: token ids if there are any, else the text.
  std::string prompt;
  std::vector<int32_t> prompt_token_ids;
  // Text prompts: add what the tokenizer puts around a text (BOS). Off for rendered chats.
  bool add_special_tokens = true;
  SamplingParams params;
  int32_t priority = 0;  // smaller is sooner; SchedulingPolicy::kPriority only
  // Requests share cached prefixes only with requests of the same salt.
  std::string cache_salt;
  // Anything but kNone: an embedding request; `params` is ignored, nothing is generated.
  Pooling pooling = Pooling::kNone;
  bool normalize_embedding = true;  // to length 1
};

// Called on the output thread, outputs of one request in order, the last with `finished`. Must not
// block: other streams wait. May call Submit and Abort, not Shutdown.
using OutputCallback = std::function<void(RequestOutput)>;

// An OpenAI conversation, as JSON texts.
struct ChatRequest {
  std::string messages_json;  // array of {"role", "content", ...}
  std::string tools_json;     // array of tools, or empty
  std::string kwargs_json;    // object of further template variables, or empty
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // leave the last message open instead
  std::string chat_template;  // Jinja text that replaces the engine's; empty: the engine's
};

struct LoadProgress {
  std::string_view stage;  // "weights", "tokenizer"
  uint64_t done = 0;       // bytes
  uint64_t total = 0;
};

class LlmEngine {
 public:
  // Loads the model and starts the threads. `progress` is called from the calling thread or a
  // loader thread while loading.
  static Result<std::unique_ptr<LlmEngine>> Create(
      const EngineOptions& options, std::function<void(const LoadProgress&)> progress = {});

  virtual ~LlmEngine() = default;  // as Shutdown

  // Queues a request. InvalidArgument: parameters or prompt make no sense for this model;
  // ResourceExhausted: the queue is full, try later; FailedPrecondition: draining or shut down. On
  // error the callback is never called; else it gets a `finished` output sooner or later.
  virtual Result<RequestId> Submit(GenerationRequest request, OutputCallback callback) = 0;

  // Ends a request at the next step; its callback still gets one `finished` output with kAbort for
  // its open choices. No effect on unknown or finished requests.
  virtual void Abort(RequestId id) = 0;

  // Takes no more requests and waits until all are finished, at most `deadline_s` seconds; the rest
  // are then aborted. True if none had to be.
  virtual bool Drain(double deadline_s) = 0;

  // Aborts everything, delivers the last outputs and ends the threads. Idempotent.
  virtual void Shutdown() = 0;

  // Not OK once the engine has failed for good (it then refuses requests).
  virtual Status health() const = 0;

  // --- text ---
  virtual Result<std::vector<int32_t>> Encode(std::string_view text,
                                              bool add_special_tokens = true) const = 0;
  // Invalid UTF-8 that tokens spell out becomes U+FFFD. InvalidArgument on ids outside the
  // vocabulary.
  virtual Result<std::string> Decode(std::span<const int32_t> token_ids,
                                     bool skip_special_tokens = true) const = 0;
  // The bytes of one token alone; empty for ids outside the vocabulary.
  virtual std::string TokenBytes(int32_t token_id) const = 0;
  // The prompt text of a conversation. Template loops and sizes are bounded; the template's own
  // raise_exception() comes back as InvalidArgument.
  virtual Result<std::string> RenderChat(const ChatRequest& chat) const = 0;
  // The chat template's Jinja text; empty if there is none.
  virtual std::string chat_template() const = 0;

  // --- facts and figures ---
  virtual const EngineOptions& options() const = 0;  // as resolved, nothing left on auto
  virtual const ModelInfo& model_info() const = 0;
  virtual std::vector<LayerPrecision> layer_precision() const = 0;
  // Defaults from the model's generation_config.json (temperature, top_k, top_p, ...) on top of
  // SamplingParams' own.
  virtual SamplingParams default_sampling_params() const = 0;
  virtual EngineStats stats() const = 0;
  // Zeroes counters, histograms and means (benchmarks, after a warm-up).
  virtual void ResetStats() = 0;
  // Forgets all cached prefixes that no running request uses.
  virtual void ResetPrefixCache() = 0;
};

}  // namespace octavo
