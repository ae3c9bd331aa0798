// SPDX-License-Identifier: Apache-2.0
// The OpenAI-compatible API over one engine: routes, access, start-up and draining states.
//
// It exists before the engine does: the listener is up at once and answers 503 while the model
// loads. Nothing here knows sockets; HttpServer calls Gate and Handle.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "octavo/engine.h"
#include "server/access_control.h"
#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/generation_job.h"
#include "server/http_message.h"
#include "server/metrics.h"
#include "server/response_channel.h"
#include "server/sampling_fields.h"

namespace octavo::server {

struct ApiOptions {
  std::string version;
  // Names clients may use; the first is the one in replies. At least one.
  std::vector<std::string> served_model_names;
  AccessOptions access;
  RequestLimits limits;
  std::string tool_call_parser = "auto";  // or none, hermes, mistral, llama3_json
  std::string reasoning_parser = "auto";  // or none, think
  Pooling pooling = Pooling::kLast;       // of /v1/embeddings
  bool trust_request_chat_template = false;
  // Start from generation_config.json of the model (as vLLM's "auto"); else from neutral defaults.
  bool use_generation_config = true;
  // Fields on top of that, by their names in requests; an object or null.
  Json override_generation_config;
  bool page = true;  // Serve the chat page at "/".
  // Gets one line per reply, if set.
  std::function<void(const std::string&)> access_log;
};

class ApiServer {
 public:
  enum class State { kLoading, kReady, kDraining, kFailed };

  // InvalidArgument if an option makes no sense.
  static Result<std::unique_ptr<ApiServer>> Create(ApiOptions options, TaskRunner run);

  // HttpServer::Gate: access control, and 503 while there is no engine.
  std::optional<HttpResponse> Gate(const HttpRequest& head);
  // HttpServer::Handler.
  void Handle(HttpRequest request, std::shared_ptr<ResponseChannel> reply);

  // The engine, not owned, must outlive all requests; turns kLoading into kReady.
  Status SetEngine(LlmEngine& engine);
  void SetProgress(const LoadProgress& progress);
  void SetFailed(const Status& status);
  void BeginDrain() { state_ = State::kDraining; }
  State state() const { return state_; }
  int64_t server_load() const { return server_load_; }

 private:
  struct Call;  // One request under way.
  using Route = void (ApiServer::*)(Call& call);
  struct RouteEntry;
  static const RouteEntry* FindRoute(std::string_view path);

  ApiServer(ApiOptions options, TaskRunner run);

  void Dispatch(Call& call);
  std::optional<ApiError> CheckModel(const std::string& model) const;
  void Reply(Call& call, HttpResponse response);
  void ReplyJson(Call& call, const Json& json);
  void ReplyError(Call& call, const ApiError& error);
  // Submits and answers; `formatter` makes the reply.
  void Generate(Call& call, std::vector<GenerationRequest> requests, const StreamFields& stream,
                std::unique_ptr<ReplyFormatter> formatter);

  // generation_routes.cc
  void Completions(Call& call);
  void ChatCompletions(Call& call);
  void Embeddings(Call& call);
  Status PrepareEcho(const CompletionRequest& request, CompletionFormat& format) const;
  OutputParser::Options ParserOptions(const ChatCompletionRequest& request,
                                      std::string_view prompt) const;

  // info_routes.cc
  void Page(Call& call);
  void Health(Call& call);
  void Version(Call& call);
  void Load(Call& call);
  void Metrics(Call& call);
  void Models(Call& call);
  void ServerStatus(Call& call);
  void Layers(Call& call);

  // text_routes.cc
  void Tokenize(Call& call);
  void Detokenize(Call& call);
  void TokenizerInfo(Call& call);

  const ApiOptions options_;
  const TaskRunner run_;
  const AccessControl access_;
  std::atomic<State> state_ = State::kLoading;
  std::atomic<LlmEngine*> engine_ = nullptr;
  std::atomic<int64_t> server_load_ = 0;
  HttpCounters http_;
  // Set by SetEngine before engine_.
  SamplingParams defaults_;
  ChatPolicy policy_;
  bool split_reasoning_ = false;
  const int64_t start_time_;

  mutable std::mutex mutex_;  // Guards the rest.
  std::string load_stage_;
  uint64_t load_done_ = 0;
  uint64_t load_total_ = 0;
  Status failure_;
};

}  // namespace octavo::server
