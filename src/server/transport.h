// SPDX-License-Identifier: Apache-2.0
// A connected stream socket, plain or TLS, behind three awaitable calls.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <cstddef>
#include <memory>
#include <optional>

namespace octavo::server {

using StreamSocket = boost::asio::generic::stream_protocol::socket;

struct IoResult {
  boost::system::error_code error;
  size_t bytes = 0;
};

// One read and one write may be under way at once. Not thread-safe: one executor, one thread.
class Transport {
 public:
  // `tls` may be null (plain); it must outlive the transport.
  Transport(StreamSocket socket, boost::asio::ssl::context* tls);

  boost::asio::awaitable<IoResult> Handshake();
  boost::asio::awaitable<IoResult> ReadSome(boost::asio::mutable_buffer buffer);
  boost::asio::awaitable<IoResult> WriteSome(boost::asio::const_buffer buffer);

  // Sends FIN after what was written; the peer may still send.
  void ShutdownSend();
  // Ends all operations under way with an error.
  void Close();

 private:
  StreamSocket& lowest();

  std::optional<StreamSocket> plain_;
  std::unique_ptr<boost::asio::ssl::stream<StreamSocket>> tls_;
};

}  // namespace octavo::server
