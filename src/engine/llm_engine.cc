// SPDX-License-Identifier: Apache-2.0
// LlmEngine: the threads around EngineCore and OutputProcessor.
//
//   Submit --inbox--> step thread (EngineCore) --outbox--> output thread (OutputProcessor) -->
//   callback
//                          ^------------- choices ended by stop strings -----------|
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

#include "engine/load_engine.h"
#include "engine/output_processor.h"
#include "engine/stats_collector.h"
#include "octavo/engine.h"

namespace octavo {
namespace {

// Mailboxes between threads: push from anywhere, take everything at once.
template <typename T>
class Mailbox {
 public:
  void Push(T item) {
    {
      const std::scoped_lock lock(mutex_);
      items_.push_back(std::move(item));
    }
    ready_.notify_one();
  }

  // Everything there is; `wait`: at least one item.
  std::deque<T> TakeAll(bool wait) {
    std::unique_lock lock(mutex_);
    if (wait) ready_.wait(lock, [this] { return !items_.empty(); });
    return std::exchange(items_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> items_;
};

struct AbortMessage {
  RequestId id;
};
struct AbortAllMessage {};
struct ResetPrefixCacheMessage {};
struct StopMessage {};
using StepMessage = std::variant<std::shared_ptr<const EngineRequest>, StoppedChoice, AbortMessage,
                                 AbortAllMessage, ResetPrefixCacheMessage, StopMessage>;

struct RegisterMessage {
  std::shared_ptr<const EngineRequest> request;
  OutputCallback callback;
  SteadyTime submitted;
};
using OutputMessage = std::variant<RegisterMessage, StepReport, StopMessage>;

// Spreads the engine's seed over requests that bring none.
uint64_t DeriveSeed(uint64_t seed, RequestId id) {
  uint64_t x = seed + id * 0x9E3779B97F4A7C15u;  // SplitMix64
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

class LlmEngineImpl final : public LlmEngine {
 public:
  explicit LlmEngineImpl(LoadedEngine loaded)
      : loaded_(std::move(loaded)),
        core_(loaded_.core_options, BlockHasher(HashKey::Random(), loaded_.hash_context),
              *loaded_.executor),
        outputs_(*loaded_.text) {
    loaded_.info.arena_bytes += core_.logits_bytes();
    stats_.ObserveGauges(Gauges());
    output_thread_ = std::thread([this] { OutputLoop(); });
    step_thread_ = std::thread([this] { StepLoop(); });
  }

  ~LlmEngineImpl() override { Shutdown(); }

  Result<RequestId> Submit(GenerationRequest request, OutputCallback callback) override;
  void Abort(RequestId id) override { inbox_.Push(AbortMessage{id}); }
  bool Drain(double deadline_s) override;
  void Shutdown() override;
  Status health() const override;

  Result<std::vector<int32_t>> Encode(std::string_view text,
                                      bool add_special_tokens) const override {
    return loaded_.text->tokenizer().Encode(text, add_special_tokens);
  }
  Result<std::string> Decode(std::span<const int32_t> token_ids,
                             bool skip_special_tokens) const override;
  std::string TokenBytes(int32_t token_id) const override {
    return loaded_.text->TokenBytes(token_id);
  }
  Result<std::string> RenderChat(const ChatRequest& chat) const override {
    return loaded_.text->RenderChat(chat);
  }
  std::string chat_template() const override {
    const ChatTemplate* chat = loaded_.text->chat_template();
    return chat == nullptr ? std::string() : chat->source();
  }

  const EngineOptions& options() const override { return loaded_.options; }
  const ModelInfo& model_info() const override { return loaded_.info; }
  std::vector<LayerPrecision> layer_precision() const override { return loaded_.precision; }
  SamplingParams default_sampling_params() const override { return loaded_.text->default_params(); }
  EngineStats stats() const override { return stats_.Snapshot(); }
  void ResetStats() override { stats_.Reset(); }
  void ResetPrefixCache() override { inbox_.Push(ResetPrefixCacheMessage{}); }

 private:
  Status CheckTokenIds(std::string_view what, std::span<const int32_t> ids) const;
  Status CheckRequest(const EngineRequest& request) const;
  Result<std::shared_ptr<EngineRequest>> Prepare(GenerationRequest request);
  Status AddConstraint(EngineRequest& request);
  std::shared_ptr<const TokenTable> Tokens();
  Status Enter();  // counts the request in, or says why not

  void StepLoop();
  bool Handle(StepMessage& message);  // false: stop
  void Fail(Status status);
  StatsCollector::Gauges Gauges() const;

  void OutputLoop();
  void ProcessReport(StepReport& report);

  LoadedEngine loaded_;
  MaskWorker mask_worker_;
  EngineCore core_;          // step thread
  OutputProcessor outputs_;  // output thread
  StatsCollector stats_;
  Mailbox<StepMessage> inbox_;
  Mailbox<OutputMessage> outbox_;

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  int64_t num_unfinished_ = 0;   // requests in the engine
  int64_t num_undelivered_ = 0;  // and those whose last callback has not returned
  bool draining_ = false;
  bool stopped_ = false;
  Status health_;

  std::mutex tokens_mutex_;
  std::shared_ptr<const TokenTable> tokens_;  // of the vocabulary, for structured output

  std::mutex submit_mutex_;  // keeps ids in the order of the mailboxes
  RequestId next_id_ = 1;

  std::thread step_thread_;
  std::thread output_thread_;
};

Status LlmEngineImpl::CheckTokenIds(std::string_view what, std::span<const int32_t> ids) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= loaded_.info.vocab_size) {
      return InvalidArgument(
          fmt::format("{}: token {}, want [0, {})", what, id, loaded_.info.vocab_size));
    }
  }
  return Status::Ok();
}

Status LlmEngineImpl::CheckRequest(const EngineRequest& request) const {
  const SamplingParams& p = request.params;
  const EngineOptions& o = loaded_.options;
  const auto length = static_cast<int64_t>(request.prompt.size());
  const bool generates = request.pooling == Pooling::kNone && p.max_tokens != 0;
  if (length == 0) return InvalidArgument("prompt: empty, want at least one token");
  if (length > o.max_model_len - (generates ? 1 : 0)) {
    return InvalidArgument(fmt::format("prompt: {} tokens, max_model_len is {}{}", length,
                                       o.max_model_len,
                                       generates ? " and one is needed for output" : ""));
  }
  if (p.n > o.max_num_seqs) {
    return InvalidArgument(fmt::format("n: {}, max_num_seqs is {}", p.n, o.max_num_seqs));
  }
  for (const auto& [name, value] :
       {std::pair("logprobs", p.logprobs), std::pair("prompt_logprobs", p.prompt_logprobs)}) {
    if (value.value_or(0) > o.max_logprobs) {
      return InvalidArgument(
          fmt::format("{}: {}, max_logprobs is {}", name, *value, o.max_logprobs));
    }
  }
  OCTAVO_RETURN_IF_ERROR(CheckTokenIds("prompt", request.prompt));
  OCTAVO_RETURN_IF_ERROR(CheckTokenIds("stop_token_ids", p.stop_token_ids));
  if (p.allowed_token_ids) {
    OCTAVO_RETURN_IF_ERROR(CheckTokenIds("allowed_token_ids", *p.allowed_token_ids));
  }
  for (const auto& [id, bias] : p.logit_bias) {
    OCTAVO_RETURN_IF_ERROR(CheckTokenIds("logit_bias", {&id, 1}));
  }
  return Status::Ok();
}

Result<std::shared_ptr<EngineRequest>> LlmEngineImpl::Prepare(GenerationRequest given) {
  if (given.pooling != Pooling::kNone) {
    given.params = {};
    given.params.max_tokens = 0;
  }
  OCTAVO_RETURN_IF_ERROR(given.params.Validate());
  auto request = std::make_shared<EngineRequest>();
  request->prompt = std::move(given.prompt_token_ids);
  if (request->prompt.empty()) {
    // A token spells at least one byte of text, seldom more than 64: refuse what cannot fit before
    // spending time on it.
    constexpr int64_t kMaxBytesPerToken = 256;
    if (static_cast<int64_t>(given.prompt.size()) >
        kMaxBytesPerToken * loaded_.options.max_model_len) {
      return InvalidArgument(fmt::format("prompt: {} bytes, max_model_len is {} tokens",
                                         given.prompt.size(), loaded_.options.max_model_len));
    }
    OCTAVO_ASSIGN_OR_RETURN(request->prompt, Encode(given.prompt, given.add_special_tokens));
  }
  request->params = std::move(given.params);
  request->priority = given.priority;
  request->cache_salt = std::move(given.cache_salt);
  request->pooling = given.pooling;
  request->normalize_embedding = given.normalize_embedding;
  OCTAVO_RETURN_IF_ERROR(CheckRequest(*request));
  const int64_t room = loaded_.options.max_model_len - static_cast<int64_t>(request->prompt.size());
  request->max_tokens = std::min(room, request->params.max_tokens.value_or(room));
  OCTAVO_RETURN_IF_ERROR(AddConstraint(*request));
  return request;
}

// Compiled here, on the caller's thread: a bad schema is refused before it costs anyone else a
// step.
Status LlmEngineImpl::AddConstraint(EngineRequest& request) {
  const SamplingParams& params = request.params;
  if (params.structured_output.kind == StructuredOutput::Kind::kNone) return Status::Ok();
  OCTAVO_ASSIGN_OR_RETURN(Grammar grammar, CompileStructuredOutput(params.structured_output));
  std::vector<int32_t> end_tokens = params.stop_token_ids;
  if (!params.ignore_eos) {
    const auto& own = loaded_.text->end_tokens();
    end_tokens.insert(end_tokens.end(), own.begin(), own.end());
  }
  request.constraint = std::make_shared<ConstraintContext>(std::move(grammar), Tokens(),
                                                           mask_worker_, std::move(end_tokens));
  return Status::Ok();
}

// Sorted once, when the first request needs it. Special tokens are no text: no grammar allows them.
std::shared_ptr<const TokenTable> LlmEngineImpl::Tokens() {
  const std::scoped_lock lock(tokens_mutex_);
  if (tokens_ == nullptr) {
    const ModelText& text = *loaded_.text;
    tokens_ = std::make_shared<const TokenTable>(loaded_.info.vocab_size, [&text](int32_t id) {
      return text.tokenizer().IsSpecial(id) ? std::string() : text.TokenBytes(id);
    });
  }
  return tokens_;
}

Status LlmEngineImpl::Enter() {
  const std::scoped_lock lock(mutex_);
  if (!health_.ok()) return FailedPrecondition("the engine has failed: " + health_.message());
  if (draining_) return FailedPrecondition("the engine is shutting down");
  const int64_t limit = int64_t{loaded_.options.max_num_seqs} + loaded_.options.max_num_queued_reqs;
  if (num_unfinished_ >= limit) {
    return ResourceExhausted(
        fmt::format("{} requests are running or waiting, limit {}", num_unfinished_, limit));
  }
  ++num_unfinished_;
  ++num_undelivered_;
  return Status::Ok();
}

Result<RequestId> LlmEngineImpl::Submit(GenerationRequest given, OutputCallback callback) {
  const SteadyTime submitted = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN_OR_RETURN(const auto request, Prepare(std::move(given)));
  OCTAVO_RETURN_IF_ERROR(Enter());
  const std::scoped_lock lock(submit_mutex_);
  request->id = next_id_++;
  request->seed = request->params.seed.value_or(DeriveSeed(loaded_.options.seed, request->id));
  const RequestId id = request->id;
  outbox_.Push(RegisterMessage{request, std::move(callback), submitted});
  inbox_.Push(std::shared_ptr<const EngineRequest>(request));
  return id;
}

bool LlmEngineImpl::Drain(double deadline_s) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto idle = [this] { return num_undelivered_ == 0; };
  if (idle_.wait_for(lock, std::chrono::duration<double>(deadline_s), idle)) return true;
  inbox_.Push(AbortAllMessage{});
  idle_.wait(lock, idle);
  return false;
}

void LlmEngineImpl::Shutdown() {
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(stopped_, true)) return;
  }
  Drain(0);
  inbox_.Push(StopMessage{});
  step_thread_.join();
  outbox_.Push(StopMessage{});
  output_thread_.join();
}

Status LlmEngineImpl::health() const {
  const std::scoped_lock lock(mutex_);
  return health_;
}

Result<std::string> LlmEngineImpl::Decode(std::span<const int32_t> token_ids,
                                          bool skip_special_tokens) const {
  OCTAVO_RETURN_IF_ERROR(CheckTokenIds("token_ids", token_ids));
  return loaded_.text->tokenizer().Decode(token_ids, skip_special_tokens);
}

// --- step thread ---

StatsCollector::Gauges LlmEngineImpl::Gauges() const {
  const BlockManager& blocks = core_.blocks();
  return {core_.scheduler().num_running(),
          core_.scheduler().num_waiting(),
          blocks.num_usable(),
          blocks.num_used(),
          blocks.num_free_cached(),
          blocks.num_copied()};
}

bool LlmEngineImpl::Handle(StepMessage& message) {
  if (auto* request = std::get_if<std::shared_ptr<const EngineRequest>>(&message)) {
    core_.Add(std::move(*request));
  } else if (const auto* choice = std::get_if<StoppedChoice>(&message)) {
    core_.StopChoice(choice->request_id, choice->index);
  } else if (const auto* abort = std::get_if<AbortMessage>(&message)) {
    core_.Abort(abort->id);
  } else if (std::holds_alternative<AbortAllMessage>(message)) {
    core_.AbortAll(FinishReason::kAbort, {});
  } else if (std::holds_alternative<ResetPrefixCacheMessage>(message)) {
    core_.ResetPrefixCache();
  } else {
    return false;
  }
  return true;
}

void LlmEngineImpl::StepLoop() {
  while (true) {
    for (StepMessage& message : inbox_.TakeAll(!core_.HasWork())) {
      if (!Handle(message)) return;
    }
    if (!core_.HasWork()) {
      stats_.ObserveGauges(Gauges());
      continue;
    }
    StepReport report;
    if (Status status = core_.Step(report); !status.ok()) Fail(std::move(status));
    stats_.ObserveStep(report, Gauges());
    outbox_.Push(std::move(report));
  }
}

// The model cannot compute: everyone is told, nobody may enter any more.
void LlmEngineImpl::Fail(Status status) {
  {
    const std::scoped_lock lock(mutex_);
    health_ = status;
  }
  core_.AbortAll(FinishReason::kError, status);
}

// --- output thread ---

void LlmEngineImpl::OutputLoop() {
  while (true) {
    for (OutputMessage& message : outbox_.TakeAll(true)) {
      if (auto* entry = std::get_if<RegisterMessage>(&message)) {
        outputs_.Register(std::move(entry->request), std::move(entry->callback), entry->submitted);
      } else if (auto* report = std::get_if<StepReport>(&message)) {
        ProcessReport(*report);
      } else {
        return;
      }
    }
  }
}

void LlmEngineImpl::ProcessReport(StepReport& report) {
  OutputProcessor::News news;
  outputs_.Process(report, news);
  for (const StoppedChoice& choice : news.stopped) inbox_.Push(choice);
  stats_.ObserveGaps(news.gaps_s);
  for (const FinishedRequest& request : news.finished) stats_.ObserveFinished(request);
  const auto num_finished = static_cast<int64_t>(news.finished.size());
  {
    // First make room, so that a callback which submits the next request is not refused.
    const std::scoped_lock lock(mutex_);
    num_unfinished_ -= num_finished;
  }
  for (auto& [callback, output] : news.deliveries) callback(std::move(output));
  {
    const std::scoped_lock lock(mutex_);
    num_undelivered_ -= num_finished;
  }
  if (num_finished > 0) idle_.notify_all();
}

}  // namespace

Result<std::unique_ptr<LlmEngine>> LlmEngine::Create(
    const EngineOptions& options, std::function<void(const LoadProgress&)> progress) {
  OCTAVO_ASSIGN_OR_RETURN(LoadedEngine loaded, LoadEngine(options, progress));
  return std::unique_ptr<LlmEngine>(std::make_unique<LlmEngineImpl>(std::move(loaded)));
}

}  // namespace octavo
