// SPDX-License-Identifier: Apache-2.0
// An HTTP request and response as plain values, free of any network library.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::server {

struct HttpHeader {
  std::string name;
  std::string value;
};

// ASCII comparison without regard to case, as header names need.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);

struct HttpRequest {
  std::string id;       // Ours, unique; echoed as X-Request-Id.
  std::string method;   // "GET"
  std::string path;     // "/v1/models", starts with '/', without the query.
  std::string query;    // After '?', undecoded.
  std::vector<HttpHeader> headers;
  std::string body;
  bool http_1_0 = false;

  // Value of the first header of that name, or empty.
  std::string_view Header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<HttpHeader> headers;
  std::string body;
};

// "Not Found" for 404.
std::string_view ReasonPhrase(int status);

// Status line, headers and (unless `chunked`) Content-Length. Line breaks in header values, which
// could split a response, are dropped.
//   content_length  bytes of the body that follows; ignored when chunked
std::string SerializeHead(const HttpResponse& response, std::string_view request_id,
                          bool keep_alive, bool chunked, size_t content_length);

// One chunk of "Transfer-Encoding: chunked"; `data` is not empty.
void AppendChunk(std::string& out, std::string_view data);

}  // namespace octavo::server
