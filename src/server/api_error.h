// SPDX-License-Identifier: Apache-2.0
// Errors as OpenAI clients expect them: an HTTP status and {"error": {message, type, param, code}}.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "octavo/status.h"
#include "server/http_message.h"

namespace octavo::server {

struct ApiError {
  int status = 400;
  std::string message;
  std::string param;  // The field at fault; empty: null on the wire.
  std::string code;   // "model_not_found", ...; empty: null on the wire.
};

// {"error": {...}}; the "type" follows from the status.
std::string ErrorBody(const ApiError& error);

// The whole response, with Retry-After on 429 and 503 and WWW-Authenticate on 401.
HttpResponse ErrorResponse(const ApiError& error);

// How the engine's refusals look over HTTP: invalid argument 400, queue full 429, draining 503,
// not supported 400, anything else 500.
ApiError ErrorFromStatus(const Status& status);

}  // namespace octavo::server
