// SPDX-License-Identifier: Apache-2.0
// An LlmEngine for tests of the server: tokens are bytes, answers are scripted, time is adjustable.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/json.h"
#include "octavo/engine.h"

namespace octavo::server {

// One thread plays step and output thread: each tick gives every running request one token per
// choice. Bytes are tokens, so text and ids are easy to relate; id 256 is the end of a sequence.
class FakeEngine : public LlmEngine {
 public:
  struct Options {
    std::chrono::microseconds tick{0};
    size_t max_num_seqs = 64;
    size_t max_num_queued_reqs = 1024;
    std::string chat_template = "{{ messages }}<tool_call>";
    // The whole answer to a prompt; default: the prompt itself, reversed.
    std::function<std::string(const GenerationRequest&)> script;
  };

  explicit FakeEngine(Options options) : fake_(std::move(options)) {
    info_.path = "fake";
    info_.architecture = "FakeForCausalLM";
    info_.num_layers = 2;
    info_.hidden_size = 4;
    info_.vocab_size = 257;
    info_.max_model_len = 4096;
    info_.block_size = 16;
    info_.kv_cache_dtype = "bfloat16";
    info_.dtype = "bfloat16";
    info_.eos_token_ids = {256};
    thread_ = std::thread([this] { Loop(); });
  }
  ~FakeEngine() override { Shutdown(); }

  Result<RequestId> Submit(GenerationRequest request, OutputCallback callback) override {
    if (request.prompt_token_ids.empty()) {
      for (const char c : request.prompt) {
        request.prompt_token_ids.push_back(static_cast<unsigned char>(c));
      }
    }
    for (const int32_t id : request.prompt_token_ids) {
      if (id < 0 || id > 256) return InvalidArgument("token id outside the vocabulary");
    }
    if (static_cast<int64_t>(request.prompt_token_ids.size()) > info_.max_model_len) {
      return InvalidArgument("the prompt is longer than max_model_len 4096");
    }
    const std::lock_guard lock(mutex_);
    if (draining_) return FailedPrecondition("draining");
    if (requests_.size() >= fake_.max_num_seqs + fake_.max_num_queued_reqs) {
      return ResourceExhausted("the queue is full");
    }
    const RequestId id = next_id_++;
    Running running;
    running.answer = Answer(request);
    running.request = std::move(request);
    running.callback = std::move(callback);
    requests_.emplace(id, std::move(running));
    changed_.notify_all();
    return id;
  }

  void Abort(RequestId id) override {
    const std::lock_guard lock(mutex_);
    const auto it = requests_.find(id);
    if (it == requests_.end()) return;
    it->second.aborted = true;
    ++num_aborts_;
    changed_.notify_all();
  }

  bool Drain(double deadline_s) override {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(deadline_s);
    std::unique_lock lock(mutex_);
    draining_ = true;
    while (!requests_.empty()) {
      if (changed_.wait_until(lock, until) == std::cv_status::timeout) break;
    }
    const bool clean = requests_.empty();
    for (auto& [id, running] : requests_) running.aborted = true;
    while (!requests_.empty()) changed_.wait_for(lock, std::chrono::milliseconds(10));
    return clean;
  }

  void Shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      stopping_ = true;
      draining_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

  Status health() const override { return Status::Ok(); }

  Result<std::vector<int32_t>> Encode(std::string_view text, bool) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  Result<std::string> Decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 0 || id > 256) return InvalidArgument("token id outside the vocabulary");
      text += TokenBytes(id);
    }
    return text;
  }
  std::string TokenBytes(int32_t id) const override {
    return id >= 0 && id < 256 ? std::string(1, static_cast<char>(id)) : std::string();
  }
  Result<std::string> RenderChat(const ChatRequest& chat) const override {
    auto messages = ParseJson(chat.messages_json);
    if (!messages.ok()) return std::move(messages).status();
    std::string text;
    for (const Json& message : *messages) {
      const std::string role = message["role"].get<std::string>();
      if (role == "function") return InvalidArgument("the template knows no role 'function'");
      text += role + ":" + message["content"].get<std::string>() + "\n";
    }
    return text + (chat.add_generation_prompt ? "assistant:" : "");
  }
  std::string chat_template() const override { return fake_.chat_template; }

  const EngineOptions& options() const override { return options_; }
  const ModelInfo& model_info() const override { return info_; }
  std::vector<LayerPrecision> layer_precision() const override {
    std::vector<LayerPrecision> layers;
    for (int i = 0; i < 2; ++i) {
      layers.push_back({"model.layers." + std::to_string(i) + ".mlp.up_proj", "W4A16", "bf16", "f32",
                        "gemm_w4a16_reference", 8, 4, 4.25});
    }
    return layers;
  }
  SamplingParams default_sampling_params() const override { return {}; }
  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    EngineStats stats;
    stats.num_running = static_cast<int64_t>(std::min(requests_.size(), fake_.max_num_seqs));
    stats.num_waiting = static_cast<int64_t>(requests_.size()) - stats.num_running;
    stats.kv_blocks_total = 100;
    stats.kv_blocks_used = std::min<int64_t>(100, stats.num_running);
    stats.kv_cache_usage = static_cast<double>(stats.kv_blocks_used) / 100;
    stats.generation_tokens = generated_;
    stats.time_to_first_token_s = {{0.1, 1.0}, {1, 2, 3}, 4.5, 6};
    return stats;
  }
  void ResetStats() override {}
  void ResetPrefixCache() override {}

  size_t num_requests() const {
    const std::lock_guard lock(mutex_);
    return requests_.size();
  }
  uint64_t num_aborts() const { return num_aborts_; }

 private:
  struct Running {
    GenerationRequest request;
    OutputCallback callback;
    std::string answer;
    size_t position = 0;
    bool aborted = false;
  };

  std::string Answer(const GenerationRequest& request) const {
    if (fake_.script) return fake_.script(request);
    std::string text;
    for (const int32_t id : request.prompt_token_ids) text += TokenBytes(id);
    std::reverse(text.begin(), text.end());
    return text;
  }

  void Loop() {
    std::unique_lock lock(mutex_);
    while (!stopping_ || !requests_.empty()) {
      if (requests_.empty()) {
        changed_.wait(lock);
        continue;
      }
      if (fake_.tick.count() > 0 && !stopping_) changed_.wait_for(lock, fake_.tick);
      std::vector<std::pair<OutputCallback, RequestOutput>> outputs;
      size_t running = 0;
      for (auto it = requests_.begin(); it != requests_.end();) {
        const bool runs = running++ < fake_.max_num_seqs;
        if (!runs && !it->second.aborted && !stopping_) break;
        RequestOutput output = Step(it->first, it->second);
        const bool finished = output.finished;
        outputs.emplace_back(it->second.callback, std::move(output));
        it = finished ? requests_.erase(it) : std::next(it);
      }
      lock.unlock();
      for (auto& [callback, output] : outputs) callback(std::move(output));
      outputs.clear();
      lock.lock();
      changed_.notify_all();
    }
  }

  RequestOutput Step(RequestId id, Running& running) {
    const GenerationRequest& request = running.request;
    const SamplingParams& params = request.params;
    RequestOutput output;
    output.request_id = id;
    if (running.position == 0 && params.prompt_logprobs) AddPromptLogprobs(request, output);
    if (request.pooling != Pooling::kNone) {
      output.embedding = {0.5F, 0.5F, 0.5F, static_cast<float>(request.prompt_token_ids.size())};
      output.finished = true;
      output.usage.prompt_tokens = static_cast<int64_t>(request.prompt_token_ids.size());
      return output;
    }
    const size_t limit = params.max_tokens ? static_cast<size_t>(*params.max_tokens) : SIZE_MAX;
    const bool at_end = running.position >= running.answer.size();
    const bool stop = running.aborted || stopping_ || at_end || running.position >= limit;
    for (int32_t i = 0; i < params.n; ++i) {
      CompletionDelta delta;
      delta.index = i;
      if (stop) {
        delta.finish_reason = running.aborted || stopping_ ? FinishReason::kAbort
                              : at_end                     ? FinishReason::kStop
                                                           : FinishReason::kLength;
      } else {
        const char c = running.answer[running.position];
        const int32_t token = static_cast<unsigned char>(c);
        delta.text = std::string(1, c);
        delta.token_ids = {token};
        if (params.logprobs) delta.logprobs.push_back(Position(token, *params.logprobs));
      }
      output.choices.push_back(std::move(delta));
    }
    if (!stop) {
      ++running.position;
      generated_ += static_cast<uint64_t>(params.n);
    }
    output.finished = stop;
    output.usage.prompt_tokens = static_cast<int64_t>(request.prompt_token_ids.size());
    output.usage.completion_tokens = static_cast<int64_t>(running.position) * params.n;
    return output;
  }

  PositionLogprobs Position(int32_t token, int32_t count) const {
    PositionLogprobs position;
    position.token = {token, -0.5F, 1, TokenBytes(token)};
    for (int32_t i = 0; i < count; ++i) {
      const int32_t other = (token + i) % 256;
      position.top.push_back({other, -0.5F - static_cast<float>(i), i + 1, TokenBytes(other)});
    }
    return position;
  }

  void AddPromptLogprobs(const GenerationRequest& request, RequestOutput& output) const {
    output.prompt_logprobs.emplace_back(std::nullopt);
    for (size_t i = 1; i < request.prompt_token_ids.size(); ++i) {
      output.prompt_logprobs.emplace_back(
          Position(request.prompt_token_ids[i], *request.params.prompt_logprobs));
    }
  }

  const Options fake_;
  EngineOptions options_;
  ModelInfo info_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RequestId, Running> requests_;
  RequestId next_id_ = 1;
  bool draining_ = false;
  bool stopping_ = false;
  std::atomic<uint64_t> num_aborts_ = 0;
  std::atomic<uint64_t> generated_ = 0;
  std::thread thread_;
};

}  // namespace octavo::server
