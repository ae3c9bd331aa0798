// SPDX-License-Identifier: Apache-2.0
// Response heads, chunks, and the mailbox between producers and connections.
#include "server/http_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/response_channel.h"

namespace octavo::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(HttpMessageTest, HeaderValuesCannotSplitTheResponse) {
  HttpResponse response;
  response.headers.push_back({"X-Octavo-Ignored-Fields", "a\r\nSet-Cookie: evil=1"});
  const std::string head = SerializeHead(response, "id", true, false, 0);
  EXPECT_THAT(head, Not(HasSubstr("\r\nSet-Cookie")));
  EXPECT_THAT(head, HasSubstr("Content-Length: 0\r\n"));
}

TEST(HttpMessageTest, ChunkedRepliesCarryNoLength) {
  const std::string head = SerializeHead(HttpResponse{}, "id", true, true, 7);
  EXPECT_THAT(head, Not(HasSubstr("Content-Length")));
  std::string out;
  AppendChunk(out, std::string(255, 'x'));
  EXPECT_THAT(out, ::testing::StartsWith("ff\r\nxxx"));
}

TEST(ResponseChannelTest, DeliversAStreamInOrder) {
  int wakes = 0;
  ResponseChannel channel(1000, [&] { ++wakes; });
  channel.StartStream(HttpResponse{});
  EXPECT_TRUE(channel.Write("a"));
  EXPECT_TRUE(channel.Write("b"));
  auto pending = channel.Take();
  EXPECT_TRUE(pending.head.has_value());
  EXPECT_EQ(pending.stream_bytes, "ab");
  EXPECT_FALSE(pending.finished);
  channel.Write("c");
  channel.Finish();
  pending = channel.Take();
  EXPECT_FALSE(pending.head.has_value());
  EXPECT_EQ(pending.stream_bytes, "c");
  EXPECT_TRUE(pending.finished);
  EXPECT_EQ(wakes, 5);
}

TEST(ResponseChannelTest, ClosesOnAReaderThatNeverReads) {
  ResponseChannel channel(10, [] {});
  channel.StartStream(HttpResponse{});
  EXPECT_TRUE(channel.Write("0123456789"));
  EXPECT_FALSE(channel.Write("x"));
  EXPECT_TRUE(channel.closed());
}

TEST(ResponseChannelTest, TellsTheProducerOnceThatThePeerLeft) {
  int calls = 0;
  ResponseChannel channel(10, [] {});
  channel.OnClose([&] { ++calls; });
  channel.Close();
  channel.Close();
  EXPECT_EQ(calls, 1);
  channel.OnClose([&] { ++calls; });
  EXPECT_EQ(calls, 2) << "registered after the end: told at once";
}

TEST(ResponseChannelTest, DoesNotCallBackAfterTheEnd) {
  int calls = 0;
  ResponseChannel channel(10, [] {});
  channel.OnClose([&] { ++calls; });
  channel.Send(HttpResponse{});
  channel.Close();
  EXPECT_EQ(calls, 0);
}

}  // namespace
}  // namespace octavo::server
