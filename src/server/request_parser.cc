// SPDX-License-Identifier: Apache-2.0
// RequestParser on Boost.Beast's HTTP/1 grammar, with the checks Beast leaves to its user.
#include "server/request_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace octavo::server {
namespace http = boost::beast::http;

struct RequestParser::Impl {
  http::request_parser<http::string_body> parser;
};

namespace {

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

HttpFailure FailureFrom(const boost::beast::error_code& error, const HttpLimits& limits) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return {431, fmt::format("request headers exceed {} bytes", limits.max_header_bytes)};
  }
  if (error == http::error::body_limit) {
    return {413, fmt::format("request body exceeds {} bytes", limits.max_body_bytes)};
  }
  if (error == http::error::bad_version) return {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  return {400, fmt::format("malformed HTTP request: {}", error.message())};
}

size_t CountOf(const HttpRequest& request, std::string_view name) {
  return static_cast<size_t>(
      std::count_if(request.headers.begin(), request.headers.end(),
                    [&](const HttpHeader& h) { return EqualsIgnoreCase(h.name, name); }));
}

// Framing a proxy and we could read differently is refused (request smuggling).
std::optional<HttpFailure> CheckFraming(const HttpRequest& request) {
  const std::string_view transfer = request.Header("Transfer-Encoding");
  if (!transfer.empty() && !EqualsIgnoreCase(transfer, "chunked")) {
    return HttpFailure{501, "Transfer-Encoding other than 'chunked' is not supported"};
  }
  if (CountOf(request, "Transfer-Encoding") + CountOf(request, "Content-Length") > 1) {
    return HttpFailure{400, "more than one Content-Length or Transfer-Encoding"};
  }
  if (CountOf(request, "Host") > 1) return HttpFailure{400, "more than one Host header"};
  const std::string_view encoding = request.Header("Content-Encoding");
  if (!encoding.empty() && !EqualsIgnoreCase(encoding, "identity")) {
    return HttpFailure{415, "compressed request bodies are not accepted"};
  }
  const std::string_view expect = request.Header("Expect");
  if (!expect.empty() && !EqualsIgnoreCase(expect, "100-continue")) {
    return HttpFailure{417, "only 'Expect: 100-continue' is understood"};
  }
  return std::nullopt;
}

}  // namespace

RequestParser::RequestParser(const HttpLimits& limits)
    : limits_(limits), impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(static_cast<std::uint32_t>(limits.max_header_bytes));
  impl_->parser.body_limit(limits.max_body_bytes);
  impl_->parser.eager(false);
}

RequestParser::~RequestParser() = default;

size_t RequestParser::Feed(std::string_view data) {
  size_t consumed = 0;
  while (!failure_ && !done() && consumed < data.size()) {
    const bool header_was_done = header_done();
    boost::beast::error_code error;
    size_t used = 0;
    try {
      used = impl_->parser.put(
          boost::asio::const_buffer(data.data() + consumed, data.size() - consumed), error);
    } catch (const std::exception& exception) {
      Fail(400, fmt::format("malformed HTTP request: {}", exception.what()));
      break;
    }
    consumed += used;
    if (error && error != http::error::need_more) {
      HttpFailure failure = FailureFrom(error, limits_);
      Fail(failure.status, std::move(failure.message));
      break;
    }
    if (header_done() && !header_was_done) {
      FinishHeader();
      break;
    }
    if (error == http::error::need_more || used == 0) break;
  }
  return consumed;
}

void RequestParser::FinishHeader() {
  const auto& message = impl_->parser.get();
  request_.method = std::string(View(message.method_string()));
  request_.http_1_0 = message.version() == 10;
  for (const auto& field : message) {
    if (request_.headers.size() == limits_.max_headers) {
      return Fail(431, fmt::format("more than {} request headers", limits_.max_headers));
    }
    request_.headers.push_back(
        {std::string(View(field.name_string())), std::string(View(field.value()))});
  }
  const std::string_view target = View(message.target());
  const size_t question = target.find('?');
  request_.path = std::string(target.substr(0, question));
  if (question != std::string_view::npos) request_.query = std::string(target.substr(question + 1));
  if (request_.path.empty() || (request_.path[0] != '/' && request_.path != "*")) {
    return Fail(400, "request target must be an absolute path");
  }
  if (auto failure = CheckFraming(request_)) Fail(failure->status, std::move(failure->message));
  impl_->parser.eager(true);
}

void RequestParser::Fail(int status, std::string message) {
  failure_ = HttpFailure{status, std::move(message)};
}

bool RequestParser::header_done() const { return impl_->parser.is_header_done(); }
bool RequestParser::done() const { return impl_->parser.is_done(); }
bool RequestParser::keep_alive() const { return impl_->parser.keep_alive(); }
bool RequestParser::expects_continue() const { return !request_.Header("Expect").empty(); }

size_t RequestParser::body_bytes() const { return impl_->parser.get().body().size(); }

HttpRequest RequestParser::TakeRequest() {
  request_.body = std::move(impl_->parser.get().body());
  return std::move(request_);
}

}  // namespace octavo::server
