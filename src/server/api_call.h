// SPDX-License-Identifier: Apache-2.0
// ApiServer::Call, shared by the files that implement its routes; not for others.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "server/api_server.h"

namespace octavo::server {

struct ApiServer::Call {
  HttpRequest request;
  std::shared_ptr<ResponseChannel> reply;
  std::string handler;               // The route's path, for metrics.
  std::vector<HttpHeader> headers;   // For the reply: CORS, ignored fields.
  LlmEngine* engine = nullptr;       // Not null in routes that need it.
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

// Seconds since 1970, for "created".
int64_t UnixSeconds();

}  // namespace octavo::server
