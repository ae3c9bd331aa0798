// SPDX-License-Identifier: Apache-2.0
// Transport: picks the plain or the TLS stream per call.
#include "server/transport.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace octavo::server {
namespace asio = boost::asio;

namespace {
constexpr auto kUseTuple = asio::as_tuple(asio::use_awaitable);
}  // namespace

Transport::Transport(StreamSocket socket, asio::ssl::context* tls) {
  if (tls == nullptr) {
    plain_.emplace(std::move(socket));
  } else {
    tls_ = std::make_unique<asio::ssl::stream<StreamSocket>>(std::move(socket), *tls);
  }
}

StreamSocket& Transport::lowest() { return tls_ ? tls_->next_layer() : *plain_; }

asio::awaitable<IoResult> Transport::Handshake() {
  if (!tls_) co_return IoResult{};
  auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::server, kUseTuple);
  co_return IoResult{error, 0};
}

asio::awaitable<IoResult> Transport::ReadSome(asio::mutable_buffer buffer) {
  if (tls_) {
    auto [error, bytes] = co_await tls_->async_read_some(buffer, kUseTuple);
    co_return IoResult{error, bytes};
  }
  auto [error, bytes] = co_await plain_->async_read_some(buffer, kUseTuple);
  co_return IoResult{error, bytes};
}

asio::awaitable<IoResult> Transport::WriteSome(asio::const_buffer buffer) {
  if (tls_) {
    auto [error, bytes] = co_await tls_->async_write_some(buffer, kUseTuple);
    co_return IoResult{error, bytes};
  }
  auto [error, bytes] = co_await plain_->async_write_some(buffer, kUseTuple);
  co_return IoResult{error, bytes};
}

void Transport::ShutdownSend() {
  boost::system::error_code ignored;
  lowest().shutdown(asio::socket_base::shutdown_send, ignored);
}

void Transport::Close() {
  boost::system::error_code ignored;
  lowest().close(ignored);
}

}  // namespace octavo::server
