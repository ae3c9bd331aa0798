// SPDX-License-Identifier: Apache-2.0
// Incremental, bounded parsing of one HTTP/1.x request; the only user of Boost.Beast's parser.
//
// No sockets here, so that tests and the fuzz target feed it any bytes in any portions.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace octavo::server {

struct HttpLimits {
  size_t max_header_bytes = size_t{16} << 10;  // Request line and all headers together.
  size_t max_headers = 100;
  size_t max_body_bytes = size_t{16} << 20;
};

// Why a request is refused before any route sees it.
struct HttpFailure {
  int status;           // 400, 413, 417, 431, 501 ...
  std::string message;  // For the "message" of the error body.
};

class RequestParser {
 public:
  explicit RequestParser(const HttpLimits& limits);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Consumes a prefix of `data` and returns its length; offer the rest again with more bytes behind
  // it. Stops after the header (header_done) and at the end of the request (done), so that bytes of
  // a pipelined request stay with the caller. A request that breaks a limit or the grammar sets
  // failure(); nothing may be fed after that.
  size_t Feed(std::string_view data);

  bool header_done() const;
  bool done() const;
  const std::optional<HttpFailure>& failure() const { return failure_; }

  // Valid once header_done().
  const HttpRequest& head() const { return request_; }
  bool keep_alive() const;
  bool expects_continue() const;
  size_t body_bytes() const;  // Received so far.

  // Valid once done(); moves the request out.
  HttpRequest TakeRequest();

 private:
  struct Impl;
  void FinishHeader();
  void Fail(int status, std::string message);

  HttpLimits limits_;
  std::unique_ptr<Impl> impl_;
  HttpRequest request_;
  std::optional<HttpFailure> failure_;
};

}  // namespace octavo::server
