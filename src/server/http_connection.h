// SPDX-License-Identifier: Apache-2.0
// One client connection: reads requests, hands them on, sends replies, and notices a client's end.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "server/http_server.h"
#include "server/transport.h"

namespace octavo::server {

// What all connections of a server share; lives on the network thread.
struct ConnectionContext {
  boost::asio::io_context& network;
  const HttpServerOptions& options;
  const HttpServer::Gate& gate;
  const HttpServer::ErrorBody& error_body;
  // Runs the handler on a worker thread.
  std::function<void(HttpRequest, std::shared_ptr<ResponseChannel>)> dispatch;
  std::function<std::string()> next_request_id;
  size_t total_body_bytes = 0;
  bool draining = false;
};

// Used on the network thread only. Deadlines are swept by the server: no timer per connection.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Clock = std::chrono::steady_clock;

  HttpConnection(ConnectionContext& context, StreamSocket socket, boost::asio::ssl::context* tls);
  ~HttpConnection();

  // Serves requests until either side closes; the coroutine keeps the connection alive.
  boost::asio::awaitable<void> Run();

  // Cuts the connection off if a deadline has passed.
  void CheckDeadlines(Clock::time_point now);
  // Waiting for a request of which nothing, or not all, has come.
  bool idle() const { return !reply_; }
  Clock::time_point idle_since() const { return idle_since_; }
  // Aborts the reply under way, if any, and closes the socket.
  void Abort();

 private:
  boost::asio::awaitable<bool> ReadRequest(RequestParser& parser);
  boost::asio::awaitable<bool> ReadMore();
  boost::asio::awaitable<bool> SendContinue();
  boost::asio::awaitable<void> Refuse(const HttpFailure& failure);
  boost::asio::awaitable<bool> Respond(bool http_1_0, bool head_only, bool keep_alive);
  boost::asio::awaitable<bool> WriteAll(std::string bytes);
  boost::asio::awaitable<void> SendAndLinger(HttpResponse response);
  boost::asio::awaitable<void> Watch();
  void StartWatch();
  bool ChargeBody(size_t bytes);

  ConnectionContext& context_;
  Transport transport_;
  std::string in_;              // Received, not yet parsed.
  boost::asio::steady_timer reply_news_;  // Cancelled when reply_ has changed.
  boost::asio::steady_timer watch_done_;  // Cancelled when the watching read has ended.
  std::shared_ptr<ResponseChannel> reply_;
  std::string request_id_;
  bool watching_ = false;
  bool peer_gone_ = false;
  size_t charged_body_bytes_ = 0;
  Clock::time_point idle_since_;
  Clock::time_point read_deadline_ = Clock::time_point::max();
  Clock::time_point write_deadline_ = Clock::time_point::max();
};

}  // namespace octavo::server
