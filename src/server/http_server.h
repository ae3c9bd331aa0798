// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 listener: sockets, TLS, limits, deadlines and draining; knows nothing of routes.
//
// One network thread runs every connection as two coroutines (requests in, replies out); a few
// worker threads run the handlers, so that JSON, tokenizing and templates never delay the sockets,
// and neither ever touches the engine's step thread. Everything a client can make the server hold
// (connections, headers, bodies, unread replies) and every wait for a client has a bound.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "octavo/status.h"
#include "server/http_message.h"
#include "server/request_parser.h"
#include "server/response_channel.h"

namespace octavo::server {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8000;           // 0: the system picks one, see HttpServer::address().
  std::string unix_socket;        // Path; replaces host and port.
  std::string ssl_certfile;       // PEM chain; with ssl_keyfile turns TLS on.
  std::string ssl_keyfile;
  std::string ssl_ca_certs;       // PEM; clients then need a certificate signed by one of these.

  HttpLimits limits;
  size_t max_connections = 2048;
  size_t max_total_body_bytes = size_t{256} << 20;  // Of all requests being received together.
  size_t max_unread_bytes = size_t{4} << 20;        // Of one streamed reply; then it is aborted.
  int num_workers = 2;

  std::chrono::milliseconds header_timeout{10'000};  // TLS handshake, and first byte to last header.
  std::chrono::milliseconds body_timeout{60'000};    // Header to last body byte.
  std::chrono::milliseconds idle_timeout{75'000};    // Between two requests.
  std::chrono::milliseconds write_timeout{30'000};   // For a client to take up to 64 KiB of reply.
};

class HttpServer {
 public:
  // Looks at the head of a request, on the network thread and before any of its body is read; a
  // response refuses it. Must be quick.
  using Gate = std::function<std::optional<HttpResponse>(const HttpRequest& head)>;
  // Answers a request through the channel, at once or later. Runs on a worker thread.
  using Handler = std::function<void(HttpRequest request, std::shared_ptr<ResponseChannel> reply)>;
  // Makes the error body of refusals by the HTTP layer itself (400, 408, 413, 431, 503 ...).
  using ErrorBody = std::function<std::string(int status, const std::string& message)>;

  // Binds and listens; errors name the address and the system's reason.
  static Result<std::unique_ptr<HttpServer>> Listen(const HttpServerOptions& options, Gate gate,
                                                    Handler handler, ErrorBody error_body);
  virtual ~HttpServer() = default;  // As Stop().

  // "http://127.0.0.1:8000", "https://...", or "unix:/path".
  virtual std::string address() const = 0;
  virtual size_t num_connections() const = 0;

  // Runs a task on a worker thread; dropped after Stop().
  virtual void Post(std::function<void()> task) = 0;

  // Takes no more connections, closes idle ones and waits until every reply is sent, at most
  // `deadline`. True if none had to be cut off.
  virtual bool Drain(std::chrono::milliseconds deadline) = 0;

  // Closes everything and joins the threads. Idempotent.
  virtual void Stop() = 0;
};

}  // namespace octavo::server
