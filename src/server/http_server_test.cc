// SPDX-License-Identifier: Apache-2.0
// Listening: what can go wrong before the first request, and the end of a server's life. What clients
// do to it is in tests/server/hostile_test.py.
#include "server/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace octavo::server {
namespace {

using ::testing::HasSubstr;

Result<std::unique_ptr<HttpServer>> Listen(HttpServerOptions options) {
  return HttpServer::Listen(
      options, [](const HttpRequest&) { return std::nullopt; },
      [](HttpRequest, std::shared_ptr<ResponseChannel> reply) { reply->Send(HttpResponse{}); },
      [](int, const std::string& message) { return message; });
}

TEST(HttpServerTest, TellsTheAddressItGot) {
  HttpServerOptions options;
  options.port = 0;
  const auto server = Listen(options);
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  EXPECT_THAT((*server)->address(), ::testing::MatchesRegex("http://127\\.0\\.0\\.1:[1-9][0-9]*"));
  EXPECT_TRUE((*server)->Drain(std::chrono::milliseconds(100)));
  (*server)->Stop();
  (*server)->Stop();
}

TEST(HttpServerTest, APortInUseIsAnErrorThatNamesIt) {
  HttpServerOptions options;
  options.port = 0;
  const auto first = Listen(options);
  ASSERT_TRUE(first.ok());
  const std::string address = (*first)->address();
  options.port = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  const auto second = Listen(options);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), HasSubstr("127.0.0.1:" + std::to_string(options.port)));
}

TEST(HttpServerTest, RefusesHalfATlsSetUp) {
  HttpServerOptions options;
  options.port = 0;
  options.ssl_certfile = "cert.pem";
  EXPECT_THAT(Listen(options).status().message(), HasSubstr("--ssl-keyfile"));
  options.ssl_keyfile = "key.pem";
  EXPECT_THAT(Listen(options).status().message(), HasSubstr("cert.pem: no usable PEM"));
}

TEST(HttpServerTest, DoesNotTakeAFileThatIsNoSocket) {
  const std::string path = ::testing::TempDir() + "octavo_" + std::to_string(::getpid());
  std::ofstream(path) << "precious";
  HttpServerOptions options;
  options.unix_socket = path;
  EXPECT_FALSE(Listen(options).ok());
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
  options.unix_socket = "/" + std::string(200, 'x');
  EXPECT_THAT(Listen(options).status().message(), HasSubstr("at most"));
}

}  // namespace
}  // namespace octavo::server
