// SPDX-License-Identifier: Apache-2.0
// HTTP parsing: portions of every size, pipelining, limits and what must be refused.
#include "server/request_parser.h"

#include <gtest/gtest.h>

#include <string>

namespace octavo::server {
namespace {

// Feeds `text` in portions of `step` bytes; returns what the parser left unconsumed.
std::string FeedAll(RequestParser& parser, std::string_view text, size_t step) {
  std::string buffer;
  size_t next = 0;
  while (!parser.done() && !parser.failure()) {
    const size_t used = parser.Feed(buffer);
    buffer.erase(0, used);
    if (used > 0) continue;
    if (next == text.size()) break;
    buffer += text.substr(next, step);
    next = std::min(next + step, text.size());
  }
  return buffer + std::string(text.substr(next));
}

int StatusOf(std::string_view text, HttpLimits limits = {}) {
  RequestParser parser(limits);
  FeedAll(parser, text, text.size());
  if (parser.failure()) return parser.failure()->status;
  return parser.done() ? 200 : 0;
}

TEST(RequestParserTest, ReadsARequestInPortionsOfAnySize) {
  const std::string text =
      "POST /v1/x?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n";
  for (size_t step = 1; step <= text.size(); ++step) {
    RequestParser parser({});
    const std::string rest = FeedAll(parser, text, step);
    ASSERT_TRUE(parser.done()) << step;
    EXPECT_TRUE(parser.keep_alive());
    const HttpRequest request = parser.TakeRequest();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/v1/x");
    EXPECT_EQ(request.query, "a=b");
    EXPECT_EQ(request.Header("hOST"), "h");
    EXPECT_EQ(request.body, "hello");
    EXPECT_EQ(rest, "GET / HTTP/1.1\r\n");
  }
}

TEST(RequestParserTest, ReadsChunkedBodies) {
  RequestParser parser({});
  FeedAll(parser,
          "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
          7);
  ASSERT_TRUE(parser.done());
  EXPECT_EQ(parser.TakeRequest().body, "abcde");
}

TEST(RequestParserTest, StopsAtTheHeaderSoThatTheBodyCanBeRefusedUnread) {
  RequestParser parser({});
  const std::string head = "POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
  EXPECT_EQ(parser.Feed(head + "abc"), head.size());
  EXPECT_TRUE(parser.header_done());
  EXPECT_FALSE(parser.done());
  EXPECT_TRUE(parser.expects_continue());
}

TEST(RequestParserTest, RefusesBodiesOverTheLimitBeforeTheyCome) {
  HttpLimits limits;
  limits.max_body_bytes = 10;
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n", limits), 413);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", limits), 413);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n",
                     limits),
            413);
}

TEST(RequestParserTest, RefusesHeaderFloods) {
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 101; ++i) many += "a: b\r\n";
  EXPECT_EQ(StatusOf(many + "\r\n"), 431);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\na: " + std::string(17 << 10, 'x')), 431);
  EXPECT_EQ(StatusOf("GET /" + std::string(17 << 10, 'x')), 431);
}

TEST(RequestParserTest, RefusesFramingThatProxiesReadOtherwise) {
  EXPECT_GE(StatusOf("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"),
            400);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), 400);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), 400);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc"), 400);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 501);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nx: a\n b\r\n\r\n"), 400);
}

TEST(RequestParserTest, RefusesWhatIsNoHttp) {
  EXPECT_EQ(StatusOf("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(StatusOf("GET http://other/ HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"), 415);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nExpect: coffee\r\nContent-Length: 1\r\n\r\nx"), 417);
}

}  // namespace
}  // namespace octavo::server
