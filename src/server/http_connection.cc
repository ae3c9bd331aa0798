// SPDX-License-Identifier: Apache-2.0
// HttpConnection. While a reply is made, a read stays under way: its end of file is how a client that
// left is noticed at once (in the queue, in a prefill, between tokens); bytes it brings belong to the
// next request.
#include "server/http_connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace octavo::server {
namespace asio = boost::asio;

namespace {

constexpr auto kUseTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = size_t{16} << 10;
constexpr size_t kMaxPipelinedBytes = size_t{64} << 10;
constexpr size_t kWriteBytes = size_t{64} << 10;

}  // namespace

HttpConnection::HttpConnection(ConnectionContext& context, StreamSocket socket,
                               asio::ssl::context* tls)
    : context_(context),
      transport_(std::move(socket), tls),
      reply_news_(context.network, Clock::time_point::max()),
      watch_done_(context.network, Clock::time_point::max()),
      idle_since_(Clock::now()) {}

HttpConnection::~HttpConnection() {
  context_.total_body_bytes -= charged_body_bytes_;
  if (reply_) reply_->Close();
}

void HttpConnection::CheckDeadlines(Clock::time_point now) {
  if (now >= read_deadline_ || now >= write_deadline_) Abort();
}

void HttpConnection::Abort() {
  peer_gone_ = true;
  transport_.Close();
  if (reply_) reply_->Close();
}

asio::awaitable<void> HttpConnection::Run() {
  const auto self = shared_from_this();
  read_deadline_ = Clock::now() + context_.options.header_timeout;
  const IoResult handshake = co_await transport_.Handshake();
  if (handshake.error) co_return;
  bool keep_alive = true;
  while (keep_alive && !peer_gone_) {
    RequestParser parser(context_.options.limits);
    const bool complete = co_await ReadRequest(parser);
    if (!complete) break;
    keep_alive = parser.keep_alive() && !context_.draining;
    HttpRequest request = parser.TakeRequest();
    request.id = request_id_;
    const bool http_1_0 = request.http_1_0;
    const bool head_only = request.method == "HEAD";
    // The wake-up may outlive the connection, and comes from other threads.
    std::weak_ptr<HttpConnection> weak = self;
    reply_ = std::make_shared<ResponseChannel>(
        context_.options.max_unread_bytes, [weak, &network = context_.network] {
          asio::post(network, [weak] {
            if (const auto connection = weak.lock()) connection->reply_news_.cancel();
          });
        });
    StartWatch();
    context_.dispatch(std::move(request), reply_);
    const bool sent = co_await Respond(http_1_0, head_only, keep_alive);
    if (!sent) reply_->Close();
    reply_.reset();
    context_.total_body_bytes -= std::exchange(charged_body_bytes_, 0);
    if (!sent) break;
    idle_since_ = Clock::now();
  }
  transport_.Close();
}

// Reads until the parser has a whole request that may be handled. Refusals are answered here.
asio::awaitable<bool> HttpConnection::ReadRequest(RequestParser& parser) {
  request_id_.clear();
  const auto& options = context_.options;
  read_deadline_ = Clock::now() + (in_.empty() ? options.idle_timeout : options.header_timeout);
  bool started = !in_.empty();
  bool continue_sent = false;
  while (!parser.done()) {
    if (request_id_.empty() && !in_.empty()) request_id_ = context_.next_request_id();
    const size_t used = parser.Feed(in_);
    in_.erase(0, used);
    if (parser.failure()) {
      co_await Refuse(*parser.failure());
      co_return false;
    }
    if (parser.done()) break;
    if (parser.header_done()) {
      if (!continue_sent) {
        continue_sent = true;
        if (auto refusal = context_.gate(parser.head())) {
          co_await SendAndLinger(std::move(*refusal));
          co_return false;
        }
        read_deadline_ = Clock::now() + options.body_timeout;
        if (parser.expects_continue() && in_.empty()) {
          const bool sent = co_await SendContinue();
          if (!sent) co_return false;
        }
      }
      if (!ChargeBody(parser.body_bytes())) {
        co_await Refuse({503, "too many large requests are being received, try again later"});
        co_return false;
      }
      if (used > 0 && !in_.empty()) continue;
    }
    const bool more = co_await ReadMore();
    if (!more) co_return false;
    if (!started) {
      started = true;
      read_deadline_ = Clock::now() + options.header_timeout;
    }
  }
  read_deadline_ = Clock::time_point::max();
  // A request without a body passes the gate here.
  if (!continue_sent) {
    if (auto refusal = context_.gate(parser.head())) {
      co_await SendAndLinger(std::move(*refusal));
      co_return false;
    }
  }
  co_return true;
}

bool HttpConnection::ChargeBody(size_t bytes) {
  if (bytes <= charged_body_bytes_) return true;
  const size_t extra = bytes - charged_body_bytes_;
  if (context_.total_body_bytes + extra > context_.options.max_total_body_bytes) return false;
  context_.total_body_bytes += extra;
  charged_body_bytes_ = bytes;
  return true;
}

// Appends at least one byte to in_; false at the end of the stream.
asio::awaitable<bool> HttpConnection::ReadMore() {
  if (watching_) {
    co_await watch_done_.async_wait(kUseTuple);
    co_return !peer_gone_;
  }
  std::array<char, kReadBytes> buffer;
  const IoResult read = co_await transport_.ReadSome(asio::buffer(buffer));
  if (read.error || peer_gone_) {
    peer_gone_ = true;
    co_return false;
  }
  in_.append(buffer.data(), read.bytes);
  co_return true;
}

void HttpConnection::StartWatch() {
  if (watching_ || in_.size() >= kMaxPipelinedBytes) return;
  watching_ = true;
  asio::co_spawn(context_.network, Watch(), asio::detached);
}

asio::awaitable<void> HttpConnection::Watch() {
  const auto self = shared_from_this();
  std::array<char, 4096> buffer;
  for (;;) {
    const IoResult read = co_await transport_.ReadSome(asio::buffer(buffer));
    if (read.error) {
      peer_gone_ = true;
      if (reply_) reply_->Close();
      reply_news_.cancel();
      break;
    }
    in_.append(buffer.data(), read.bytes);
    // With a reply under way keep listening for the client's end; else ReadRequest goes on reading.
    if (!reply_ || in_.size() >= kMaxPipelinedBytes) break;
  }
  watching_ = false;
  watch_done_.cancel();
}

asio::awaitable<bool> HttpConnection::SendContinue() {
  co_return co_await WriteAll("HTTP/1.1 100 Continue\r\n\r\n");
}

asio::awaitable<void> HttpConnection::Refuse(const HttpFailure& failure) {
  HttpResponse response;
  response.status = failure.status;
  response.body = context_.error_body(failure.status, failure.message);
  co_await SendAndLinger(std::move(response));
}

// Sends a refusal although the client may still be sending its body: closing with unread bytes would
// reset the connection and the client could miss the answer, so a little is read and thrown away.
asio::awaitable<void> HttpConnection::SendAndLinger(HttpResponse response) {
  std::string bytes =
      SerializeHead(response, request_id_, /*keep_alive=*/false, /*chunked=*/false,
                    response.body.size());
  bytes += response.body;
  const bool sent = co_await WriteAll(std::move(bytes));
  if (!sent) co_return;
  transport_.ShutdownSend();
  read_deadline_ = Clock::now() + std::chrono::seconds(2);
  std::array<char, kReadBytes> buffer;
  size_t discarded = 0;
  while (!watching_ && discarded < (size_t{4} << 20)) {
    const IoResult read = co_await transport_.ReadSome(asio::buffer(buffer));
    if (read.error) break;
    discarded += read.bytes;
  }
}

// Sends what the handler puts into reply_; false if the connection is no longer usable.
asio::awaitable<bool> HttpConnection::Respond(bool http_1_0, bool head_only, bool keep_alive) {
  bool chunked = false;
  for (;;) {
    ResponseChannel::Pending news = reply_->Take();
    std::string out;
    if (news.head) {
      chunked = news.is_stream && !http_1_0;
      // An HTTP/1.0 stream ends with the connection.
      if (news.is_stream && http_1_0) keep_alive = false;
      out = SerializeHead(*news.head, request_id_, keep_alive, chunked, news.head->body.size());
      if (!news.is_stream && !head_only) out += news.head->body;
    }
    if (!news.stream_bytes.empty() && !head_only) {
      if (chunked) {
        AppendChunk(out, news.stream_bytes);
      } else {
        out += news.stream_bytes;
      }
    }
    if (peer_gone_ || reply_->closed()) co_return false;
    if (news.finished && chunked && !head_only) out += "0\r\n\r\n";
    if (!out.empty()) {
      const bool sent = co_await WriteAll(std::move(out));
      if (!sent) co_return false;
      if (!news.finished) continue;
    }
    if (news.finished) co_return keep_alive;
    co_await reply_news_.async_wait(kUseTuple);
  }
}

asio::awaitable<bool> HttpConnection::WriteAll(std::string bytes) {
  size_t done = 0;
  size_t next_deadline = 0;
  while (done < bytes.size()) {
    if (done >= next_deadline) {
      write_deadline_ = Clock::now() + context_.options.write_timeout;
      next_deadline = done + kWriteBytes;
    }
    const size_t portion = std::min(bytes.size() - done, kWriteBytes);
    const IoResult written =
        co_await transport_.WriteSome(asio::buffer(bytes.data() + done, portion));
    if (written.error || peer_gone_) {
      peer_gone_ = true;
      write_deadline_ = Clock::time_point::max();
      co_return false;
    }
    done += written.bytes;
  }
  write_deadline_ = Clock::time_point::max();
  co_return true;
}

}  // namespace octavo::server
