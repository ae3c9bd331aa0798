// SPDX-License-Identifier: Apache-2.0
// Coroutines on one thread: an arrival process, and one connection per request.
#include "cli/bench_serve_client.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <random>

namespace octavo {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr auto kUseTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kMaxHeadBytes = 64 << 10;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string RequestText(const BenchTarget& target, std::string_view method, std::string_view path,
                        const std::string& body) {
  std::string text = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n", method,
                                 target.base_path, path, target.host, target.port);
  if (!target.api_key.empty()) text += fmt::format("Authorization: Bearer {}\r\n", target.api_key);
  if (method == "POST") {
    text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  }
  return text + "\r\n" + body;
}

// Splits a reply into head and body as it comes in, and the body into server-sent events.
class ReplyReader {
 public:
  // False at malformed input.
  bool Push(std::string_view data) {
    if (!head_done_) {
      head_.append(data);
      const size_t end = head_.find("\r\n\r\n");
      if (end == std::string::npos) return head_.size() <= kMaxHeadBytes;
      const std::string rest = head_.substr(end + 4);
      head_.resize(end);
      head_done_ = true;
      std::from_chars(head_.data() + std::min<size_t>(9, head_.size()), head_.data() + head_.size(),
                      status_);
      chunked_ = head_.find("hunked") != std::string::npos;
      return PushBody(rest);
    }
    return PushBody(data);
  }

  int status() const { return status_; }
  const std::string& body() const { return body_; }

  // The data of the next complete event, if there is one.
  bool NextEvent(std::string& data) {
    const size_t end = body_.find("\n\n", at_);
    if (end == std::string::npos) return false;
    data = body_.substr(at_, end - at_);
    at_ = end + 2;
    if (data.starts_with("data:")) data.erase(0, data.find_first_not_of(' ', 5));
    return true;
  }

 private:
  bool PushBody(std::string_view data) {
    if (chunked_) return dechunker_.Push(data, body_);
    body_.append(data);
    return true;
  }

  std::string head_;
  std::string body_;
  Dechunker dechunker_;
  size_t at_ = 0;
  int status_ = 0;
  bool head_done_ = false;
  bool chunked_ = false;
};

class LoadRunner {
 public:
  LoadRunner(const BenchTarget& target, const std::vector<std::string>& bodies,
             const BenchLoad& load, const std::function<void(size_t)>& on_finished,
             const std::atomic<bool>& stop)
      : target_(target), bodies_(bodies), load_(load), on_finished_(on_finished), stop_(stop) {}

  Result<BenchRun> Run() {
    tcp::resolver resolver(context_);
    boost::system::error_code error;
    endpoints_ = resolver.resolve(target_.host, target_.port, error);
    if (error) return IoError(fmt::format("{}: {}", target_.host, error.message()));
    run_.outcomes.resize(bodies_.size());
    start_ = Clock::now();
    asio::co_spawn(context_, Dispatch(), asio::detached);
    asio::co_spawn(context_, WatchForStop(), asio::detached);
    context_.run();
    run_.duration_s = Seconds(Clock::now() - start_);
    if (stop_) return Cancelled("interrupted");
    return std::move(run_);
  }

 private:
  asio::awaitable<void> WatchForStop() {
    asio::steady_timer timer(context_);
    while (finished_ < bodies_.size()) {
      if (stop_) context_.stop();
      timer.expires_after(std::chrono::milliseconds(50));
      co_await timer.async_wait(kUseTuple);
    }
  }

  // Starts the requests at their times of arrival, as far as the concurrency limit allows.
  asio::awaitable<void> Dispatch() {
    std::mt19937_64 random(load_.seed);
    std::exponential_distribution<double> gap(std::isfinite(load_.request_rate) ? load_.request_rate
                                                                                : 1.0);
    asio::steady_timer timer(context_);
    double arrival_s = 0;
    for (size_t i = 0; i < bodies_.size(); ++i) {
      if (std::isfinite(load_.request_rate)) {
        arrival_s += i == 0 ? 0 : gap(random);
        timer.expires_at(start_ + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(arrival_s)));
        co_await timer.async_wait(kUseTuple);
      }
      while (load_.max_concurrency > 0 && running_ >= load_.max_concurrency) {
        room_.expires_at(Clock::time_point::max());
        co_await room_.async_wait(kUseTuple);
      }
      ++running_;
      asio::co_spawn(context_, Request(i), asio::detached);
    }
  }

  asio::awaitable<void> Request(size_t index) {
    BenchOutcome& outcome = run_.outcomes[index];
    outcome.start_s = Seconds(Clock::now() - start_);
    tcp::socket socket(context_);
    outcome.error = co_await Exchange(socket, bodies_[index], outcome);
    outcome.ok = outcome.error.empty();
    --running_;
    ++finished_;
    room_.cancel();
    on_finished_(finished_);
  }

  // Sends one request and reads its events; the error, or "".
  asio::awaitable<std::string> Exchange(tcp::socket& socket, const std::string& body,
                                        BenchOutcome& outcome) {
    const Clock::time_point sent = Clock::now();
    auto [connect_error, endpoint] = co_await asio::async_connect(socket, endpoints_, kUseTuple);
    if (connect_error) co_return "connect: " + connect_error.message();
    socket.set_option(tcp::no_delay(true));
    const std::string text = RequestText(target_, "POST", "/v1/completions", body);
    auto [write_error, written] = co_await asio::async_write(socket, asio::buffer(text), kUseTuple);
    if (write_error) co_return "send: " + write_error.message();
    ReplyReader reply;
    Clock::time_point last = sent;
    std::array<char, 16384> buffer;
    for (;;) {
      auto [error, bytes] = co_await socket.async_read_some(asio::buffer(buffer), kUseTuple);
      if (error) break;
      if (!reply.Push({buffer.data(), bytes})) co_return "malformed reply";
      if (reply.status() != 200 && reply.status() != 0) continue;
      for (std::string event; reply.NextEvent(event);) {
        if (event == "[DONE]") co_return "";
        const std::string problem = TakeEvent(event, sent, last, outcome);
        if (!problem.empty()) co_return problem;
      }
    }
    co_return reply.status() == 200 ? "the stream ended early"
                                    : fmt::format("status {}: {}", reply.status(),
                                                  reply.body().substr(0, 300));
  }

  static std::string TakeEvent(const std::string& event, Clock::time_point sent,
                               Clock::time_point& last, BenchOutcome& outcome) {
    const auto json = ParseJson(event);
    if (!json.ok()) return "event: " + json.status().message();
    if (const Json* error = Find(*json, "error")) return DumpJson(*error);
    if (const Json* usage = Find(*json, "usage")) {
      const auto prompt = GetIntOr(*usage, "prompt_tokens", 0);
      const auto output = GetIntOr(*usage, "completion_tokens", 0);
      if (prompt.ok()) outcome.prompt_tokens = *prompt;
      if (output.ok()) outcome.output_tokens = *output;
    }
    const Json* choices = Find(*json, "choices");
    if (choices == nullptr || !choices->is_array() || choices->empty()) return "";
    const Clock::time_point now = Clock::now();
    if (last == sent) {
      outcome.ttft_s = Seconds(now - sent);
    } else {
      outcome.itl_s.push_back(Seconds(now - last));
    }
    last = now;
    outcome.latency_s = Seconds(now - sent);
    return "";
  }

  const BenchTarget& target_;
  const std::vector<std::string>& bodies_;
  const BenchLoad& load_;
  const std::function<void(size_t)>& on_finished_;
  const std::atomic<bool>& stop_;
  asio::io_context context_{1};
  tcp::resolver::results_type endpoints_;
  asio::steady_timer room_{context_};
  Clock::time_point start_;
  int64_t running_ = 0;
  size_t finished_ = 0;
  BenchRun run_;
};

}  // namespace

bool Dechunker::Push(std::string_view data, std::string& out) {
  while (!data.empty() && state_ != State::kDone) {
    if (state_ == State::kData) {
      const size_t take = static_cast<size_t>(std::min<uint64_t>(left_, data.size()));
      out.append(data.substr(0, take));
      data.remove_prefix(take);
      left_ -= take;
      if (left_ == 0) state_ = State::kDataEnd;
      continue;
    }
    const char c = data.front();
    data.remove_prefix(1);
    if (c != '\n') {
      line_ += c;
      if (line_.size() > 256) return false;
      continue;
    }
    if (state_ == State::kDataEnd) {
      state_ = State::kSize;
    } else {
      const auto [end, error] =
          std::from_chars(line_.data(), line_.data() + line_.size(), left_, 16);
      if (error != std::errc()) return false;
      state_ = left_ == 0 ? State::kDone : State::kData;
    }
    line_.clear();
  }
  return true;
}

Result<BenchTarget> ParseBenchUrl(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) {
    return InvalidArgument(fmt::format("--base-url {}: want http://HOST:PORT", url));
  }
  const std::string rest = url.substr(kScheme.size());
  const size_t slash = rest.find('/');
  const std::string authority = rest.substr(0, slash);
  BenchTarget target;
  if (slash != std::string::npos) target.base_path = rest.substr(slash);
  while (target.base_path.ends_with('/')) target.base_path.pop_back();
  const size_t colon = authority.rfind(':');
  const bool has_port = colon != std::string::npos && authority.find(']', colon) == std::string::npos;
  target.host = authority.substr(0, has_port ? colon : std::string::npos);
  target.port = has_port ? authority.substr(colon + 1) : "80";
  if (target.host.starts_with('[') && target.host.ends_with(']')) {
    target.host = target.host.substr(1, target.host.size() - 2);
  }
  if (target.host.empty() || target.port.empty()) {
    return InvalidArgument(fmt::format("--base-url {}: want http://HOST:PORT", url));
  }
  return target;
}

Result<BenchRun> RunBenchLoad(const BenchTarget& target, const std::vector<std::string>& bodies,
                              const BenchLoad& load, const std::function<void(size_t)>& on_finished,
                              const std::atomic<bool>& stop) {
  LoadRunner runner(target, bodies, load, on_finished, stop);
  return runner.Run();
}

Result<Json> GetBenchJson(const BenchTarget& target, const std::string& path) {
  asio::io_context context;
  boost::system::error_code error;
  tcp::resolver resolver(context);
  const auto endpoints = resolver.resolve(target.host, target.port, error);
  tcp::socket socket(context);
  if (!error) asio::connect(socket, endpoints, error);
  const std::string text = RequestText(target, "GET", path, "");
  if (!error) asio::write(socket, asio::buffer(text), error);
  if (error) {
    return IoError(fmt::format("{}:{}{}: {}", target.host, target.port, path, error.message()));
  }
  ReplyReader reply;
  std::array<char, 16384> buffer;
  for (;;) {
    const size_t bytes = socket.read_some(asio::buffer(buffer), error);
    if (error) break;
    if (!reply.Push({buffer.data(), bytes})) return DataLoss("malformed reply");
  }
  if (reply.status() != 200) {
    return IoError(fmt::format("{}: status {}: {}", path, reply.status(), reply.body().substr(0, 200)));
  }
  return ParseJson(reply.body());
}

}  // namespace octavo
