// SPDX-License-Identifier: Apache-2.0
// libcurl, one easy handle per client.
#include "hub/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace octavo::hub {
namespace {

constexpr long kMaxRedirects = 10;
constexpr size_t kMaxHeaders = 200;
constexpr size_t kMaxHeaderBytes = size_t{16} << 10;
constexpr double kFirstPauseSeconds = 0.5;
constexpr double kLongestPauseSeconds = 60;
constexpr auto kPollInterval = std::chrono::milliseconds(50);

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

bool IsBusy(long status) { return status == 408 || status == 429 || status >= 500; }

// Errors of the way, which another try may not meet.
bool IsRetryable(CURLcode code) {
  constexpr std::array kCodes = {CURLE_COULDNT_RESOLVE_HOST,
                                 CURLE_COULDNT_RESOLVE_PROXY,
                                 CURLE_COULDNT_CONNECT,
                                 CURLE_PARTIAL_FILE,
                                 CURLE_OPERATION_TIMEDOUT,
                                 CURLE_GOT_NOTHING,
                                 CURLE_SEND_ERROR,
                                 CURLE_RECV_ERROR,
                                 CURLE_HTTP2,
                                 CURLE_HTTP2_STREAM,
                                 CURLE_SSL_CONNECT_ERROR};
  return std::find(kCodes.begin(), kCodes.end(), code) != kCodes.end();
}

}  // namespace

std::string_view HttpReply::Header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string_view() : found->second;
}

struct HttpClient::Handle {
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  std::array<char, CURL_ERROR_SIZE> error{};

  ~Handle() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
  }
};

// The state of a running request, which libcurl's callbacks fill.
struct HttpClient::Transfer {
  const Sink& sink;
  HttpReply& reply;
  const std::atomic<bool>* cancel = nullptr;
  Status status;  // the sink's
  bool started = false;

  bool Succeeded() const { return reply.status >= 200 && reply.status < 300; }

  Status Start() {
    if (started || !Succeeded()) return Status::Ok();
    started = true;
    return sink.start ? sink.start(reply) : Status::Ok();
  }

  static size_t OnHeader(char* data, size_t size, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const std::string_view line(data, size * count);
    auto& headers = transfer.reply.headers;
    if (line.starts_with("HTTP/")) {  // a new answer: what the one before said is over
      headers.clear();
      const size_t blank = std::min(line.find(' '), line.size() - 1);
      transfer.reply.status = 0;
      std::from_chars(line.data() + blank + 1, line.data() + line.size(), transfer.reply.status);
    } else if (const size_t colon = line.find(':'); colon != std::string_view::npos &&
                                                    headers.size() < kMaxHeaders &&
                                                    line.size() <= kMaxHeaderBytes) {
      std::string name(line.substr(0, colon));
      std::transform(name.begin(), name.end(), name.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
      headers[name] = Trim(line.substr(colon + 1));
    }
    return size * count;
  }

  static size_t OnBody(char* data, size_t size, size_t count, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    const size_t bytes = size * count;
    if (!transfer.Succeeded()) return bytes;  // an error page
    transfer.status = transfer.Start();
    if (transfer.status.ok()) transfer.status = transfer.sink.write({data, bytes});
    return transfer.status.ok() ? bytes : CURL_WRITEFUNC_ERROR;
  }

  static int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const Transfer& transfer = *static_cast<Transfer*>(self);
    return transfer.cancel != nullptr && transfer.cancel->load(std::memory_order_relaxed) ? 1 : 0;
  }
};

HttpClient::HttpClient(int timeout_s, const std::atomic<bool>* cancel)
    : handle_(std::make_unique<Handle>()), timeout_s_(timeout_s), cancel_(cancel) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  handle_->easy = curl_easy_init();
}

HttpClient::~HttpClient() = default;

Status HttpClient::Prepare(const HttpRequest& request, Transfer& transfer) {
  CURL* easy = handle_->easy;
  curl_easy_reset(easy);  // keeps connections
  curl_slist_free_all(handle_->headers);
  handle_->headers = curl_slist_append(nullptr, "Accept-Encoding: identity");
  if (!request.token.empty()) {
    handle_->headers =
        curl_slist_append(handle_->headers, ("Authorization: Bearer " + request.token).c_str());
  }
  // An https address does not lead to an open one.
  const bool secure = request.url.starts_with("https://");
  CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  const auto set = [&](CURLoption option, auto value) {
    if (code == CURLE_OK) code = curl_easy_setopt(easy, option, value);
  };
  set(CURLOPT_HTTPHEADER, handle_->headers);
  set(CURLOPT_USERAGENT, "octavo/" OCTAVO_VERSION);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_UNRESTRICTED_AUTH, 0L);  // a redirect to another host goes without the token
  set(CURLOPT_MAXREDIRS, kMaxRedirects);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(timeout_s_));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(timeout_s_));
  set(CURLOPT_ERRORBUFFER, handle_->error.data());
  set(CURLOPT_HEADERFUNCTION, &Transfer::OnHeader);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
  set(CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &Transfer::OnProgress);
  set(CURLOPT_XFERINFODATA, static_cast<void*>(&transfer));
  if (request.range) {
    set(CURLOPT_RANGE, fmt::format("{}-{}", request.range->begin, request.range->end - 1).c_str());
  }
  // The names that curl's and OpenSSL's own programs use for certificates to trust.
  for (const char* name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    const char* bundle = std::getenv(name);
    if (bundle == nullptr || *bundle == '\0') continue;
    set(CURLOPT_CAINFO, bundle);
    break;
  }
  if (code == CURLE_OK) return Status::Ok();
  return Internal(fmt::format("libcurl: {}", curl_easy_strerror(code)));
}

Attempt HttpClient::Get(const HttpRequest& request, const Sink& sink, HttpReply& reply) {
  reply = {};
  if (handle_->easy == nullptr) return {ResourceExhausted("libcurl: no memory")};
  Transfer transfer{sink, reply, cancel_, Status::Ok(), false};
  Status prepared = Prepare(request, transfer);
  if (!prepared.ok()) return {std::move(prepared)};
  handle_->error[0] = '\0';
  const CURLcode code = curl_easy_perform(handle_->easy);
  if (code == CURLE_OK) {
    Attempt attempt{transfer.Start()};  // an empty body starts nothing
    attempt.retryable = IsBusy(reply.status);
    const std::string_view pause = reply.Header("retry-after");
    int seconds = 0;
    std::from_chars(pause.data(), pause.data() + pause.size(), seconds);
    attempt.retry_after_s = std::clamp(static_cast<double>(seconds), 0.0, kLongestPauseSeconds);
    return attempt;
  }
  if (!transfer.status.ok()) return {transfer.status};
  if (code == CURLE_ABORTED_BY_CALLBACK) return {Cancelled("interrupted")};
  const char* detail = handle_->error[0] != '\0' ? handle_->error.data() : curl_easy_strerror(code);
  return {IoError(fmt::format("{}: {}", request.url, detail)), IsRetryable(code)};
}

Status WithRetries(const std::atomic<bool>* cancel, const std::function<Attempt()>& attempt) {
  const auto cancelled = [&] { return cancel != nullptr && cancel->load(); };
  double pause_s = kFirstPauseSeconds;
  for (int left = kMaxAttempts - 1;; --left) {
    const Attempt result = attempt();
    if (cancelled()) return result.status.ok() ? Status::Ok() : Cancelled("interrupted");
    if (!result.retryable) return result.status;
    if (result.progressed) {
      left = kMaxAttempts - 1;
      pause_s = kFirstPauseSeconds;
    }
    if (left <= 0) return result.status;
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::duration<double>(std::max(pause_s, result.retry_after_s));
    while (std::chrono::steady_clock::now() < end) {
      if (cancelled()) return Cancelled("interrupted");
      std::this_thread::sleep_for(kPollInterval);
    }
    pause_s *= 2;
  }
}

std::string EscapeUrl(std::string_view text, std::string_view keep) {
  std::string url;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos ||
                       keep.find(c) != std::string_view::npos;
    if (plain) {
      url += c;
    } else {
      url += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return url;
}

}  // namespace octavo::hub
