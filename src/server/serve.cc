// SPDX-License-Identifier: Apache-2.0
// Serve: ties HttpServer, ApiServer and the engine together, in an order that lets each outlive its
// users.
#include "server/serve.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace octavo::server {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(100);
// The loader thread's outcome.
enum class LoadState { kRunning, kDone, kFailed };

// One descriptor per connection, besides those of the model and the log.
void RaiseDescriptorLimit(size_t connections) {
  struct rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min<rlim_t>(limit.rlim_max, connections + 256);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

class ServerRun {
 public:
  ServerRun(const ServeOptions& options, const ServeHooks& hooks)
      : options_(options), hooks_(hooks) {}

  Status Run(const std::atomic<bool>& stop) {
    RaiseDescriptorLimit(options_.http.max_connections);
    OCTAVO_RETURN_IF_ERROR(Listen());
    hooks_.on_listening(http_->address());
    std::thread loader([this] { LoadEngine(); });
    Status outcome = WaitForEnd(stop);
    api_->BeginDrain();
    if (load_state_ == LoadState::kRunning) {
      hooks_.log("stopping as soon as loading lets go (again to end at once)");
    }
    loader.join();
    Drain();
    return outcome;
  }

 private:
  Status Listen() {
    OCTAVO_ASSIGN_OR_RETURN(api_, ApiServer::Create(options_.api, [this](std::function<void()> task) {
                              http_->Post(std::move(task));
                            }));
    OCTAVO_ASSIGN_OR_RETURN(
        http_, HttpServer::Listen(
                   options_.http, [this](const HttpRequest& head) { return api_->Gate(head); },
                   [this](HttpRequest request, std::shared_ptr<ResponseChannel> reply) {
                     api_->Handle(std::move(request), std::move(reply));
                   },
                   [](int status, const std::string& message) {
                     return ErrorBody({status, message, "", ""});
                   }));
    return Status::Ok();
  }

  void LoadEngine() {
    auto engine = hooks_.load_engine([this](const LoadProgress& progress) {
      api_->SetProgress(progress);
      hooks_.on_progress(progress);
    });
    Status status = engine.ok() ? Status::Ok() : engine.status();
    if (engine.ok()) {
      engine_ = *std::move(engine);
      status = api_->SetEngine(*engine_);
    }
    if (!status.ok()) {
      load_error_ = status;
      api_->SetFailed(status);
      load_state_ = LoadState::kFailed;
      return;
    }
    hooks_.on_ready(*engine_);
    load_state_ = LoadState::kDone;
  }

  // Until told to stop, or until there is no engine to serve with.
  Status WaitForEnd(const std::atomic<bool>& stop) {
    while (!stop) {
      std::this_thread::sleep_for(kPollInterval);
      if (load_state_ == LoadState::kFailed) return load_error_;
      if (load_state_ != LoadState::kDone) continue;
      Status health = engine_->health();
      if (!health.ok()) return health;
    }
    return Status::Ok();
  }

  void Drain() {
    const int64_t busy = api_->server_load();
    if (busy > 0) {
      hooks_.log(fmt::format("finishing {} requests, at most {} s (again to end at once)", busy,
                             options_.shutdown_timeout_s));
    }
    if (engine_ != nullptr) engine_->Drain(options_.shutdown_timeout_s);
    // What the engine has finished still has to reach its clients.
    http_->Drain(std::chrono::seconds(2));
    http_->Stop();
    if (engine_ != nullptr) engine_->Shutdown();
  }

  const ServeOptions& options_;
  const ServeHooks& hooks_;
  // Destroyed last to first: the engine's callbacks reach into the other two.
  std::unique_ptr<ApiServer> api_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<LlmEngine> engine_;
  Status load_error_;  // Written before load_state_.
  std::atomic<LoadState> load_state_ = LoadState::kRunning;
};

}  // namespace

Status Serve(const ServeOptions& options, const ServeHooks& hooks, const std::atomic<bool>& stop) {
  ServerRun run(options, hooks);
  return run.Run(stop);
}

}  // namespace octavo::server
