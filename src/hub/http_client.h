// SPDX-License-Identifier: Apache-2.0
// GET requests over HTTP and HTTPS with libcurl: redirects, byte ranges, cancelling, retries.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "octavo/status.h"

namespace octavo::hub {

struct HttpRequest {
  std::string url;
  // Sent as a bearer token to the host of `url`, and never to another one it redirects to.
  std::string token;
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;  // behind the last byte
  };
  std::optional<Range> range = std::nullopt;
};

// Status and headers of the answer, after redirects.
struct HttpReply {
  long status = 0;
  std::map<std::string, std::string> headers;  // lower-case names

  // The header's value, or empty.
  std::string_view Header(const std::string& name) const;
};

// What one try came to.
struct Attempt {
  Status status = {};
  bool retryable = false;    // a connection that broke, a busy server
  bool progressed = false;   // bytes arrived that need not be fetched again
  double retry_after_s = 0;  // what the server asked for
};

// One connection, kept open between requests to a host. Not thread-safe. The caller keeps SIGPIPE
// blocked (signals_as_errors.h).
class HttpClient {
 public:
  // Takes `reply` before the first byte of a body of status 2xx, then the bytes. An error ends the
  // transfer and becomes its status.
  struct Sink {
    std::function<Status(const HttpReply& reply)> start;
    std::function<Status(std::string_view bytes)> write;
  };

  // `cancel` may be null; it is polled during transfers. `timeout_s`: to connect, and without a
  // byte.
  HttpClient(int timeout_s, const std::atomic<bool>* cancel);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Answers of a status other than 2xx leave `status` OK and `reply.status` set: what they mean is
  // the caller's; 408, 429 and 5xx are retryable then.
  Attempt Get(const HttpRequest& request, const Sink& sink, HttpReply& reply);

 private:
  struct Transfer;
  struct Handle;
  Status Prepare(const HttpRequest& request, Transfer& transfer);

  std::unique_ptr<Handle> handle_;
  const int timeout_s_;
  const std::atomic<bool>* cancel_;
};

// Calls `attempt` until it neither fails nor asks to be repeated; kMaxAttempts in a row without
// progress at most, with doubling pauses. Cancelled when `cancel` (may be null) is set.
inline constexpr int kMaxAttempts = 6;
Status WithRetries(const std::atomic<bool>* cancel, const std::function<Attempt()>& attempt);

// `text` as one part of an URL's path; '/' too is escaped unless it is in `keep`.
std::string EscapeUrl(std::string_view text, std::string_view keep = "");

}  // namespace octavo::hub
