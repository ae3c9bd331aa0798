// SPDX-License-Identifier: Apache-2.0
// The life of a server: listen, load the model, serve, drain.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "octavo/engine.h"
#include "octavo/status.h"
#include "server/api_server.h"
#include "server/http_server.h"

namespace octavo::server {

struct ServeOptions {
  HttpServerOptions http;
  ApiOptions api;
  double shutdown_timeout_s = 30;  // For requests under way when the server is told to stop.
};

struct ServeHooks {
  using Progress = std::function<void(const LoadProgress&)>;
  // Loads the model; runs on a thread of its own while the server already answers.
  std::function<Result<std::unique_ptr<LlmEngine>>(Progress)> load_engine;
  std::function<void(const std::string& address)> on_listening;
  Progress on_progress;
  // The model is loaded and requests are taken.
  std::function<void(const LlmEngine& engine)> on_ready;
  std::function<void(const std::string& line)> log;
};

// Serves until `stop` becomes true, then finishes what is under way (at most shutdown_timeout_s) and
// returns OK. Errors: the address cannot be had, the model cannot be loaded, the engine broke down.
// All hooks must be set.
Status Serve(const ServeOptions& options, const ServeHooks& hooks, const std::atomic<bool>& stop);

}  // namespace octavo::server
