// SPDX-License-Identifier: Apache-2.0
// Serialization of HTTP/1.1 response heads and chunks.
#include "server/http_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace octavo::server {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

void AppendHeader(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  std::copy_if(value.begin(), value.end(), std::back_inserter(out),
               [](char c) { return c != '\r' && c != '\n' && c != '\0'; });
  out.append("\r\n");
}

}  // namespace

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

std::string_view HttpRequest::Header(std::string_view name) const {
  for (const HttpHeader& header : headers) {
    if (EqualsIgnoreCase(header.name, name)) return header.value;
  }
  return {};
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 411: return "Length Required";
    case 413: return "Payload Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Entity";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 499: return "Client Closed Request";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

std::string SerializeHead(const HttpResponse& response, std::string_view request_id,
                          bool keep_alive, bool chunked, size_t content_length) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", response.status,
                                ReasonPhrase(response.status));
  AppendHeader(out, "Server", "octavo");
  AppendHeader(out, "Connection", keep_alive ? "keep-alive" : "close");
  AppendHeader(out, "X-Content-Type-Options", "nosniff");
  if (!request_id.empty()) AppendHeader(out, "X-Request-Id", request_id);
  const bool has_body = response.status != 204 && response.status != 304;
  if (has_body) AppendHeader(out, "Content-Type", response.content_type);
  for (const HttpHeader& header : response.headers) AppendHeader(out, header.name, header.value);
  if (chunked) {
    AppendHeader(out, "Transfer-Encoding", "chunked");
  } else if (has_body) {
    AppendHeader(out, "Content-Length", std::to_string(content_length));
  }
  return out.append("\r\n");
}

void AppendChunk(std::string& out, std::string_view data) {
  fmt::format_to(std::back_inserter(out), "{:x}\r\n", data.size());
  out.append(data).append("\r\n");
}

}  // namespace octavo::server
