// SPDX-License-Identifier: Apache-2.0
// HttpServer on Boost.Asio: binding, accepting, the deadline sweep, draining and the threads.
#include "server/http_server.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>

#include "server/http_connection.h"

namespace octavo::server {
namespace asio = boost::asio;

namespace {

using asio::ip::tcp;
using Local = asio::local::stream_protocol;
using boost::system::error_code;

constexpr auto kUseTuple = asio::as_tuple(asio::use_awaitable);
constexpr auto kSweepInterval = std::chrono::milliseconds(250);
constexpr int kBacklog = 1024;

Result<std::unique_ptr<asio::ssl::context>> MakeTls(const HttpServerOptions& options) {
  std::unique_ptr<asio::ssl::context> tls;
  if (options.ssl_certfile.empty() && options.ssl_keyfile.empty()) return tls;
  if (options.ssl_certfile.empty() || options.ssl_keyfile.empty()) {
    return InvalidArgument("--ssl-certfile and --ssl-keyfile are needed together");
  }
  tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(tls->native_handle(), TLS1_2_VERSION);
  error_code error;
  tls->set_options(asio::ssl::context::default_workarounds | SSL_OP_NO_RENEGOTIATION, error);
  tls->use_certificate_chain_file(options.ssl_certfile, error);
  if (error) {
    return InvalidArgument(fmt::format("{}: no usable PEM certificate chain: {}",
                                       options.ssl_certfile, error.message()));
  }
  tls->use_private_key_file(options.ssl_keyfile, asio::ssl::context::pem, error);
  if (error) {
    return InvalidArgument(fmt::format("{}: no usable PEM key for this certificate: {}",
                                       options.ssl_keyfile, error.message()));
  }
  if (!options.ssl_ca_certs.empty()) {
    tls->load_verify_file(options.ssl_ca_certs, error);
    if (error) {
      return InvalidArgument(
          fmt::format("{}: no usable PEM certificates: {}", options.ssl_ca_certs, error.message()));
    }
    tls->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert, error);
  }
  return tls;
}

class AsioHttpServer : public HttpServer {
 public:
  AsioHttpServer(const HttpServerOptions& options, Gate gate, Handler handler, ErrorBody error_body)
      : options_(options),
        gate_(std::move(gate)),
        handler_(std::move(handler)),
        error_body_(std::move(error_body)),
        context_{network_, options_, gate_, error_body_, {}, {}},
        workers_(static_cast<size_t>(std::max(1, options.num_workers))),
        control_(1) {
    std::random_device random;
    id_prefix_ = fmt::format("{:08x}", random());
    context_.dispatch = [this](HttpRequest request, std::shared_ptr<ResponseChannel> reply) {
      Dispatch(std::move(request), std::move(reply));
    };
    context_.next_request_id = [this] { return fmt::format("{}-{}", id_prefix_, next_id_++); };
  }

  ~AsioHttpServer() override { Stop(); }

  Status Bind() {
    OCTAVO_ASSIGN_OR_RETURN(tls_, MakeTls(options_));
    return options_.unix_socket.empty() ? BindTcp() : BindLocal();
  }

  void Start() {
    if (tcp_) asio::co_spawn(network_, Accept(*tcp_), asio::detached);
    if (local_) asio::co_spawn(network_, Accept(*local_), asio::detached);
    thread_ = std::thread([this] { network_.run(); });
  }

  std::string address() const override { return address_; }
  size_t num_connections() const override { return num_connections_; }
  void Post(std::function<void()> task) override { asio::post(workers_, std::move(task)); }
  bool Drain(std::chrono::milliseconds deadline) override;
  void Stop() override;

 private:
  Status BindTcp();
  Status BindLocal();
  template <typename Acceptor>
  asio::awaitable<void> Accept(Acceptor& acceptor);
  void Admit(StreamSocket socket);
  bool EvictIdle();
  asio::awaitable<void> Sweep();
  void Dispatch(HttpRequest request, std::shared_ptr<ResponseChannel> reply);
  // Runs `f` on the network thread and waits for its result.
  template <typename F>
  auto OnNetwork(F f);
  void CloseAcceptors();

  const HttpServerOptions options_;
  const Gate gate_;
  const Handler handler_;
  const ErrorBody error_body_;
  std::string id_prefix_;
  uint64_t next_id_ = 1;
  std::string address_;
  std::unique_ptr<asio::ssl::context> tls_;
  // Connections refer to context_, so the io_context that owns their coroutines goes first.
  ConnectionContext context_;
  std::atomic<size_t> num_connections_ = 0;
  bool sweeping_ = false;
  asio::io_context network_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_{network_.get_executor()};
  std::unordered_map<HttpConnection*, std::shared_ptr<HttpConnection>> connections_;
  std::unique_ptr<tcp::acceptor> tcp_;
  std::unique_ptr<Local::acceptor> local_;
  asio::thread_pool workers_;  // POST: JSON, tokenizing, templates
  asio::thread_pool control_;  // GET: health and metrics stay quick whatever the workers do
  std::thread thread_;
  bool stopped_ = false;
};

Status AsioHttpServer::BindTcp() {
  const std::string where = fmt::format("{}:{}", options_.host, options_.port);
  error_code error;
  tcp::resolver resolver(network_);
  const auto found = resolver.resolve(options_.host, std::to_string(options_.port),
                                      tcp::resolver::passive, error);
  if (error || found.empty()) {
    return InvalidArgument(fmt::format("cannot resolve host '{}': {}", options_.host,
                                       error.message()));
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp_ = std::make_unique<tcp::acceptor>(network_);
  tcp_->open(endpoint.protocol(), error);
  if (!error) tcp_->set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) tcp_->bind(endpoint, error);
  if (!error) tcp_->listen(kBacklog, error);
  if (error) return IoError(fmt::format("cannot listen on {}: {}", where, error.message()));
  const tcp::endpoint bound = tcp_->local_endpoint(error);
  const std::string host = bound.address().is_v6() ? fmt::format("[{}]", bound.address().to_string())
                                                   : bound.address().to_string();
  address_ = fmt::format("{}://{}:{}", tls_ ? "https" : "http", host, bound.port());
  return Status::Ok();
}

Status AsioHttpServer::BindLocal() {
  const std::string& path = options_.unix_socket;
  if (path.size() > 100) {
    return InvalidArgument(fmt::format("unix socket path of {} bytes, at most 100", path.size()));
  }
  // A socket nobody answers on is what a killed server left behind.
  struct stat info = {};
  if (::lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
    error_code refused;
    Local::socket probe(network_);
    probe.connect(Local::endpoint(path), refused);
    if (refused == asio::error::connection_refused) ::unlink(path.c_str());
  }
  error_code error;
  local_ = std::make_unique<Local::acceptor>(network_);
  local_->open(Local(), error);
  if (!error) local_->bind(Local::endpoint(path), error);
  if (!error) local_->listen(kBacklog, error);
  if (error) {
    local_.reset();
    return IoError(fmt::format("cannot listen on unix socket {}: {}", path, error.message()));
  }
  ::chmod(path.c_str(), S_IRUSR | S_IWUSR);
  address_ = "unix:" + path;
  return Status::Ok();
}

template <typename Acceptor>
asio::awaitable<void> AsioHttpServer::Accept(Acceptor& acceptor) {
  asio::steady_timer pause(network_);
  while (acceptor.is_open()) {
    auto [error, socket] = co_await acceptor.async_accept(kUseTuple);
    if (error == asio::error::operation_aborted || !acceptor.is_open()) co_return;
    if (error) {
      // Out of descriptors or memory: make room and try again a little later.
      EvictIdle();
      pause.expires_after(std::chrono::milliseconds(100));
      co_await pause.async_wait(kUseTuple);
      continue;
    }
    Admit(StreamSocket(std::move(socket)));
  }
}

void AsioHttpServer::Admit(StreamSocket socket) {
  if (connections_.size() >= options_.max_connections && !EvictIdle()) return;  // Closes it.
  error_code ignored;
  if (tcp_) socket.set_option(tcp::no_delay(true), ignored);
  auto connection = std::make_shared<HttpConnection>(context_, std::move(socket), tls_.get());
  HttpConnection* const key = connection.get();
  connections_.emplace(key, connection);
  num_connections_ = connections_.size();
  asio::co_spawn(network_, connection->Run(), [this, key](std::exception_ptr) {
    connections_.erase(key);
    num_connections_ = connections_.size();
  });
  if (!sweeping_) {
    sweeping_ = true;
    asio::co_spawn(network_, Sweep(), asio::detached);
  }
}

// Closes the connection that has waited longest for its client's next request.
bool AsioHttpServer::EvictIdle() {
  HttpConnection* oldest = nullptr;
  for (const auto& [key, connection] : connections_) {
    if (key->idle() && (oldest == nullptr || key->idle_since() < oldest->idle_since())) oldest = key;
  }
  if (oldest == nullptr) return false;
  oldest->Abort();
  return true;
}

// Cuts off connections past their deadline; ends when there are none, so an idle server sleeps.
asio::awaitable<void> AsioHttpServer::Sweep() {
  asio::steady_timer timer(network_);
  while (!connections_.empty()) {
    timer.expires_after(kSweepInterval);
    co_await timer.async_wait(kUseTuple);
    const auto now = HttpConnection::Clock::now();
    for (const auto& [key, connection] : connections_) key->CheckDeadlines(now);
  }
  sweeping_ = false;
}

void AsioHttpServer::Dispatch(HttpRequest request, std::shared_ptr<ResponseChannel> reply) {
  auto& pool = request.method == "POST" ? workers_ : control_;
  asio::post(pool, [this, request = std::move(request), reply = std::move(reply)]() mutable {
    if (reply->closed()) return;
    try {
      handler_(std::move(request), reply);
    } catch (const std::exception& exception) {
      HttpResponse response;
      response.status = 500;
      response.body = error_body_(500, exception.what());
      reply->Send(std::move(response));
    }
  });
}

template <typename F>
auto AsioHttpServer::OnNetwork(F f) {
  std::packaged_task<decltype(f())()> task(std::move(f));
  auto result = task.get_future();
  asio::post(network_, std::move(task));
  return result.get();
}

void AsioHttpServer::CloseAcceptors() {
  error_code ignored;
  if (tcp_) tcp_->close(ignored);
  if (local_ && local_->is_open()) {
    local_->close(ignored);
    ::unlink(options_.unix_socket.c_str());
  }
}

bool AsioHttpServer::Drain(std::chrono::milliseconds deadline) {
  if (stopped_ || !thread_.joinable()) return true;
  OnNetwork([this] {
    context_.draining = true;
    CloseAcceptors();
  });
  const auto until = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    const size_t busy = OnNetwork([this] {
      size_t count = 0;
      for (const auto& [key, connection] : connections_) {
        if (key->idle()) {
          key->Abort();
        } else {
          ++count;
        }
      }
      return count;
    });
    if (busy == 0) return true;
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void AsioHttpServer::Stop() {
  if (std::exchange(stopped_, true)) return;
  if (thread_.joinable()) {
    OnNetwork([this] {
      CloseAcceptors();
      for (const auto& [key, connection] : connections_) key->Abort();
    });
    workers_.join();
    control_.join();
    network_.stop();
    thread_.join();
  } else {
    CloseAcceptors();
  }
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Listen(const HttpServerOptions& options, Gate gate,
                                                       Handler handler, ErrorBody error_body) {
  auto server = std::make_unique<AsioHttpServer>(options, std::move(gate), std::move(handler),
                                                 std::move(error_body));
  try {
    OCTAVO_RETURN_IF_ERROR(server->Bind());
    server->Start();
  } catch (const std::exception& exception) {
    return IoError(fmt::format("cannot start the HTTP server: {}", exception.what()));
  }
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace octavo::server
