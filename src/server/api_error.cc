// SPDX-License-Identifier: Apache-2.0
// The one table that maps errors to HTTP statuses and OpenAI error types.
#include "server/api_error.h"

#include "base/json.h"

namespace octavo::server {
namespace {

std::string_view TypeOf(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 500: return "server_error";
    case 503: return "service_unavailable_error";
    default: return "invalid_request_error";
  }
}

Json NullIfEmpty(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

}  // namespace

std::string ErrorBody(const ApiError& error) {
  Json body;
  body["error"] = {{"message", error.message},
                   {"type", TypeOf(error.status)},
                   {"param", NullIfEmpty(error.param)},
                   {"code", NullIfEmpty(error.code)}};
  return DumpJson(body);
}

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.body = ErrorBody(error);
  if (error.status == 429) response.headers.push_back({"Retry-After", "1"});
  if (error.status == 503) response.headers.push_back({"Retry-After", "2"});
  if (error.status == 401) {
    response.headers.push_back({"WWW-Authenticate", "Bearer"});
    // Lets a browser that opens the page ask for the key.
    response.headers.push_back({"WWW-Authenticate", "Basic realm=\"octavo\""});
  }
  return response;
}

ApiError ErrorFromStatus(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument: return {400, status.message(), "", ""};
    case StatusCode::kUnimplemented: return {400, status.message(), "", "unsupported"};
    case StatusCode::kDataLoss: return {400, status.message(), "", ""};
    case StatusCode::kNotFound: return {404, status.message(), "", ""};
    case StatusCode::kResourceExhausted: return {429, status.message(), "", "queue_full"};
    case StatusCode::kFailedPrecondition: return {503, status.message(), "", ""};
    case StatusCode::kCancelled: return {503, status.message(), "", ""};
    default: return {500, status.ToString(), "", ""};
  }
}

}  // namespace octavo::server
