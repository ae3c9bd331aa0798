// SPDX-License-Identifier: Apache-2.0
// Keys, origins and host names.
#include "server/access_control.h"

#include <gtest/gtest.h>

namespace octavo::server {
namespace {

HttpRequest Head(std::vector<HttpHeader> headers, std::string path = "/v1/models") {
  HttpRequest request;
  request.method = "GET";
  request.path = std::move(path);
  request.headers = std::move(headers);
  return request;
}

int StatusOf(const AccessControl& access, const HttpRequest& head) {
  const auto error = access.Check(head);
  return error ? error->status : 200;
}

TEST(AccessControlTest, WantsAKeyOnEveryRouteButHealth) {
  const AccessControl access({.api_keys = {"first", "second"}});
  EXPECT_EQ(StatusOf(access, Head({})), 401);
  EXPECT_EQ(StatusOf(access, Head({}, "/")), 401);
  EXPECT_EQ(StatusOf(access, Head({}, "/metrics")), 401);
  EXPECT_EQ(StatusOf(access, Head({}, "/health")), 200);
  EXPECT_EQ(StatusOf(access, Head({{"Authorization", "Bearer first"}})), 200);
  EXPECT_EQ(StatusOf(access, Head({{"authorization", "bearer second"}})), 200);
  for (const char* wrong : {"Bearer firs", "Bearer first1", "Bearer ", "Bearer", "first", "",
                            "Basic first", "Bearer FIRST"}) {
    EXPECT_EQ(StatusOf(access, Head({{"Authorization", wrong}})), 401) << wrong;
  }
}

TEST(AccessControlTest, TakesTheKeyAsABrowsersPassword) {
  const AccessControl access({.api_keys = {"first"}});
  EXPECT_EQ(StatusOf(access, Head({{"Authorization", "Basic bWU6Zmlyc3Q="}})), 200);  // me:first
  EXPECT_EQ(StatusOf(access, Head({{"Authorization", "Basic Zmlyc3Q="}})), 401);      // first
  EXPECT_EQ(StatusOf(access, Head({{"Authorization", "Basic !!!!"}})), 401);
}

TEST(AccessControlTest, RefusesForeignOrigins) {
  const AccessControl access({.allowed_origins = {"https://friend.example"}});
  const HttpHeader host = {"Host", "localhost:8000"};
  EXPECT_EQ(StatusOf(access, Head({host, {"Origin", "http://localhost:8000"}})), 200);
  EXPECT_EQ(StatusOf(access, Head({host, {"Origin", "https://friend.example"}})), 200);
  EXPECT_EQ(StatusOf(access, Head({host, {"Origin", "https://evil.example"}})), 403);
  EXPECT_EQ(StatusOf(access, Head({host, {"Origin", "null"}})), 403);
  EXPECT_TRUE(access.CorsHeaders(Head({host, {"Origin", "http://localhost:8000"}})).empty());
  EXPECT_FALSE(access.CorsHeaders(Head({host, {"Origin", "https://friend.example"}})).empty());
}

TEST(AccessControlTest, RefusesForeignHostNamesOnLoopback) {
  const AccessControl access({.allowed_hosts = {"box.lan"}});
  for (const char* host : {"localhost", "localhost:8000", "127.0.0.1:1", "[::1]:80", "box.lan:8000"}) {
    EXPECT_EQ(StatusOf(access, Head({{"Host", host}})), 200) << host;
  }
  EXPECT_EQ(StatusOf(access, Head({{"Host", "rebound.evil.example:8000"}})), 421);
  const AccessControl open({.loopback_only = false});
  EXPECT_EQ(StatusOf(open, Head({{"Host", "any.example"}})), 200);
}

}  // namespace
}  // namespace octavo::server
