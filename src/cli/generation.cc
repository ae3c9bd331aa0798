// SPDX-License-Identifier: Apache-2.0
// Engine set-up and running of single requests for commands.
#include "cli/generation.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "cli/hub_model.h"
#include "cli/progress_bar.h"
#include "cli/report.h"

namespace octavo {
namespace {

// How often a waiting command looks for Ctrl-C.
constexpr auto kPollInterval = std::chrono::milliseconds(20);

double Rate(int64_t count, double seconds) {
  return count > 0 && seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

// Collects the outputs of one request across threads.
struct Collector {
  std::mutex mutex;
  std::condition_variable changed;
  Answer answer;
  Status status;
  bool finished = false;
};

}  // namespace

void AddGenerationOptions(CLI::App& app, GenerationOptions& options) {
  AddModelOptions(app, options.model);
  app.add_option("--max-tokens", options.max_tokens, "Tokens to generate at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--temperature", options.temperature, "Randomness; 0 takes the most likely token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--top-p", options.top_p, "Keep the most likely tokens up to this probability")
      ->capture_default_str();
  app.add_option("--top-k", options.top_k, "Keep this many of the most likely tokens; 0 keeps all")
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Seed of the random choices")->capture_default_str();
  app.add_option("--max-model-len", options.max_model_len,
                 "Longest prompt and output together, in tokens (default: the model's own limit)")
      ->check(CLI::PositiveNumber);
}

Result<std::unique_ptr<LlmEngine>> CreateEngine(const GenerationOptions& options) {
  EngineOptions engine;
  OCTAVO_ASSIGN_OR_RETURN(engine.model, ResolveModel(options.model.model));
  engine.dtype = options.model.dtype;
  engine.quantization = options.model.quantization;
  engine.lm_head_dtype = options.model.lm_head_dtype;
  engine.gguf_activations = options.model.gguf_activations;
  engine.num_threads = options.model.threads;
  engine.kv_cache_dtype = options.model.kv_cache_dtype;
  if (options.model.kv_cache_dtype == "auto" && options.model.dtype == "float32") {
    engine.kv_cache_dtype = "float32";
  }
  engine.max_model_len = options.max_model_len;
  engine.max_num_seqs = 1;
  engine.seed = options.seed;
  ProgressBar bar({.label = "load", .unit = ProgressBar::Unit::kBytes});
  return LlmEngine::Create(
      engine, [&bar](const LoadProgress& progress) { bar.Update(progress.done, progress.total); });
}

SamplingParams MakeSamplingParams(const GenerationOptions& options) {
  SamplingParams params;
  params.max_tokens = options.max_tokens;
  params.temperature = options.temperature;
  params.top_p = options.top_p;
  params.top_k = options.top_k;
  params.seed = options.seed;
  return params;
}

double Answer::prefill_tok_s() const {
  return Rate(usage.prompt_tokens - usage.cached_tokens, timings.prefill_s);
}

double Answer::decode_tok_s() const {
  return Rate(static_cast<int64_t>(token_ids.size()) - 1, timings.decode_s);
}

Result<Answer> RunRequest(LlmEngine& engine, GenerationRequest request,
                          const InterruptScope& interrupt,
                          const std::function<void(std::string_view)>& on_text) {
  Collector collector;
  auto on_output = [&collector, &on_text](RequestOutput output) {
    const std::lock_guard lock(collector.mutex);
    Answer& answer = collector.answer;
    for (const CompletionDelta& delta : output.choices) {
      answer.token_ids.insert(answer.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
      answer.text += delta.text;
      if (!delta.text.empty()) on_text(delta.text);
      if (delta.finish_reason) answer.finish_reason = *delta.finish_reason;
    }
    answer.usage = output.usage;
    answer.timings = output.timings;
    if (!output.finished) return;
    collector.status = std::move(output.status);
    collector.finished = true;
    collector.changed.notify_one();
  };
  OCTAVO_ASSIGN_OR_RETURN(const RequestId id, engine.Submit(std::move(request), on_output));

  std::unique_lock lock(collector.mutex);
  bool aborted = false;
  while (!collector.changed.wait_for(lock, kPollInterval, [&] { return collector.finished; })) {
    if (!interrupt.requested() || aborted) continue;
    aborted = true;
    lock.unlock();  // the callback takes the lock
    engine.Abort(id);
    lock.lock();
  }
  OCTAVO_RETURN_IF_ERROR(collector.status);
  return std::move(collector.answer);
}

std::string Summary(const Answer& answer) {
  return fmt::format(
      "{} tokens at {:.1f} tok/s; prompt of {} tokens at {:.1f} tok/s; first token after {:.0f} ms; "
      "peak memory {}",
      answer.token_ids.size(), answer.decode_tok_s(), answer.usage.prompt_tokens,
      answer.prefill_tok_s(), answer.timings.first_token_s * 1000, FormatBytes(PeakRssBytes()));
}

}  // namespace octavo
