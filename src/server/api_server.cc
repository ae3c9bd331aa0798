// SPDX-License-Identifier: Apache-2.0
// ApiServer: states, the route table and the way from a request to a reply.
#include "server/api_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "server/api_call.h"

namespace octavo::server {

struct ApiServer::RouteEntry {
  std::string_view path;
  std::string_view method;
  Route route;
  bool needs_engine;
};

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

const ApiServer::RouteEntry* ApiServer::FindRoute(std::string_view path) {
  static constexpr RouteEntry kRoutes[] = {
      {"/", "GET", &ApiServer::Page, false},
      {"/health", "GET", &ApiServer::Health, false},
      {"/ping", "GET", &ApiServer::Health, false},
      {"/version", "GET", &ApiServer::Version, false},
      {"/load", "GET", &ApiServer::Load, false},
      {"/metrics", "GET", &ApiServer::Metrics, false},
      {"/octavo/status", "GET", &ApiServer::ServerStatus, false},
      {"/octavo/layers", "GET", &ApiServer::Layers, true},
      {"/v1/models", "GET", &ApiServer::Models, true},
      {"/v1/completions", "POST", &ApiServer::Completions, true},
      {"/v1/chat/completions", "POST", &ApiServer::ChatCompletions, true},
      {"/v1/embeddings", "POST", &ApiServer::Embeddings, true},
      {"/tokenize", "POST", &ApiServer::Tokenize, true},
      {"/detokenize", "POST", &ApiServer::Detokenize, true},
      {"/tokenizer_info", "GET", &ApiServer::TokenizerInfo, true},
  };
  // Names of models may contain slashes.
  if (path.starts_with("/v1/models/")) path = "/v1/models";
  const auto* found = std::find_if(std::begin(kRoutes), std::end(kRoutes),
                                   [&](const RouteEntry& entry) { return entry.path == path; });
  return found == std::end(kRoutes) ? nullptr : found;
}

Result<std::unique_ptr<ApiServer>> ApiServer::Create(ApiOptions options, TaskRunner run) {
  if (options.served_model_names.empty()) return InvalidArgument("no --served-model-name");
  const bool known_reasoning = options.reasoning_parser == "auto" ||
                               options.reasoning_parser == "none" ||
                               options.reasoning_parser == "think";
  if (!known_reasoning) {
    return InvalidArgument(fmt::format("reasoning parser '{}', want auto, none or think",
                                       options.reasoning_parser));
  }
  if (options.tool_call_parser != "auto") {
    OCTAVO_ASSIGN_OR_RETURN([[maybe_unused]] const ToolFormat format,
                            ToolFormatFromName(options.tool_call_parser));
  }
  return std::unique_ptr<ApiServer>(new ApiServer(std::move(options), std::move(run)));
}

ApiServer::ApiServer(ApiOptions options, TaskRunner run)
    : options_(std::move(options)),
      run_(std::move(run)),
      access_(options_.access),
      start_time_(UnixSeconds()) {}

Status ApiServer::SetEngine(LlmEngine& engine) {
  GenerationRequest defaults;
  if (options_.use_generation_config) defaults.params = engine.default_sampling_params();
  if (options_.override_generation_config.is_object()) {
    FieldReader reader(options_.override_generation_config);
    ReadSamplingFields(reader, options_.limits, defaults);
    const auto unknown = reader.UnknownFields();
    if (!reader.error() && !unknown.empty()) reader.Fail(unknown[0], "unknown field " + unknown[0]);
    if (reader.error()) {
      return InvalidArgument("--override-generation-config: " + reader.error()->message);
    }
  }
  defaults_ = defaults.params;
  const std::string chat_template = engine.chat_template();
  policy_.trust_request_chat_template = options_.trust_request_chat_template;
  policy_.tool_format = options_.tool_call_parser == "auto"
                            ? DetectToolFormat(chat_template)
                            : ToolFormatFromName(options_.tool_call_parser).value();
  split_reasoning_ = options_.reasoning_parser == "think" ||
                     (options_.reasoning_parser == "auto" &&
                      chat_template.find("</think>") != std::string::npos);
  engine_ = &engine;
  State loading = State::kLoading;
  state_.compare_exchange_strong(loading, State::kReady);
  return Status::Ok();
}

void ApiServer::SetProgress(const LoadProgress& progress) {
  const std::lock_guard lock(mutex_);
  load_stage_ = std::string(progress.stage);
  load_done_ = progress.done;
  load_total_ = progress.total;
}

void ApiServer::SetFailed(const Status& status) {
  const std::lock_guard lock(mutex_);
  failure_ = status;
  state_ = State::kFailed;
}

std::optional<HttpResponse> ApiServer::Gate(const HttpRequest& head) {
  auto refused = access_.Check(head);
  const RouteEntry* route = refused ? nullptr : FindRoute(head.path);
  // A large body for nobody is not even read.
  if (!refused && route != nullptr && route->needs_engine && state_ != State::kReady) {
    const char* why = state_ == State::kLoading    ? "the model is still loading"
                      : state_ == State::kDraining ? "the server is shutting down"
                                                   : "the model could not be loaded";
    refused = ApiError{503, why, "", ""};
  }
  if (!refused) return std::nullopt;
  HttpResponse response = ErrorResponse(*refused);
  for (HttpHeader& header : access_.CorsHeaders(head)) response.headers.push_back(std::move(header));
  http_.Count(head.method == "POST" ? "POST" : "GET", "refused", response.status);
  return response;
}

void ApiServer::Handle(HttpRequest request, std::shared_ptr<ResponseChannel> reply) {
  Call call;
  call.reply = std::move(reply);
  call.headers = access_.CorsHeaders(request);
  call.request = std::move(request);
  if (call.request.method == "HEAD") call.request.method = "GET";
  Dispatch(call);
}

void ApiServer::Dispatch(Call& call) {
  const RouteEntry* route = FindRoute(call.request.path);
  const std::string& method = call.request.method;
  call.handler = route == nullptr ? "other" : std::string(route->path);
  if (method == "OPTIONS") {
    HttpResponse response;
    response.status = 204;
    return Reply(call, std::move(response));
  }
  if (route == nullptr) {
    return ReplyError(call, {404, fmt::format("no route '{}'", call.request.path.substr(0, 100)), "",
                             "unknown_url"});
  }
  if (method != route->method) {
    call.headers.push_back({"Allow", std::string(route->method)});
    return ReplyError(call, {405, fmt::format("{} wants {}", route->path, route->method), "", ""});
  }
  call.engine = engine_;
  if (route->needs_engine && call.engine == nullptr) {
    return ReplyError(call, {503, "the model is still loading", "", ""});
  }
  (this->*route->route)(call);
}

std::optional<ApiError> ApiServer::CheckModel(const std::string& model) const {
  const auto& names = options_.served_model_names;
  if (model.empty() || std::find(names.begin(), names.end(), model) != names.end()) {
    return std::nullopt;
  }
  return ApiError{404,
                  fmt::format("the model '{}' does not exist; this server has '{}'",
                              model.substr(0, 100), names[0]),
                  "model", "model_not_found"};
}

void ApiServer::Reply(Call& call, HttpResponse response) {
  for (const HttpHeader& header : call.headers) response.headers.push_back(header);
  http_.Count(call.request.method == "POST" ? "POST" : "GET", call.handler, response.status);
  if (options_.access_log) {
    const auto elapsed = std::chrono::steady_clock::now() - call.start;
    options_.access_log(fmt::format(
        "{} {} {} {} {:.1f} ms", call.request.id, call.request.method, call.handler, response.status,
        std::chrono::duration<double, std::milli>(elapsed).count()));
  }
  call.reply->Send(std::move(response));
}

void ApiServer::ReplyJson(Call& call, const Json& json) {
  HttpResponse response;
  response.body = DumpJson(json);
  Reply(call, std::move(response));
}

void ApiServer::ReplyError(Call& call, const ApiError& error) {
  Reply(call, ErrorResponse(error));
}

void ApiServer::Generate(Call& call, std::vector<GenerationRequest> requests,
                         const StreamFields& stream, std::unique_ptr<ReplyFormatter> formatter) {
  GenerationJob::Options job;
  job.stream = stream.stream;
  job.include_usage = stream.include_usage;
  job.headers = call.headers;
  ++server_load_;
  job.on_done = [this, handler = call.handler, id = call.request.id, start = call.start](int status) {
    --server_load_;
    http_.Count("POST", handler, status);
    if (!options_.access_log) return;
    const auto elapsed = std::chrono::steady_clock::now() - start;
    options_.access_log(fmt::format("{} POST {} {} {:.1f} ms", id, handler, status,
                                    std::chrono::duration<double, std::milli>(elapsed).count()));
  };
  GenerationJob::Start(*call.engine, std::move(requests), std::move(formatter), std::move(job), run_,
                       call.reply);
}

}  // namespace octavo::server
