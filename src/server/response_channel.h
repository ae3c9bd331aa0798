// SPDX-License-Identifier: Apache-2.0
// The reply to one request, on its way from whichever thread makes it to the connection sending it.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace octavo::server {

// Producer side (any thread): either Send() once, or StartStream(), Write()*, Finish(). Consumer
// side (the connection): Take() after each wake-up, Close() when the peer is gone.
//
// Back-pressure: tokens cannot be un-made and the engine must not wait for one client, so what a
// slow reader leaves unread is bounded: over `max_buffered_bytes` the channel closes, which the
// producer sees like a disconnect. Thread-safe.
class ResponseChannel {
 public:
  struct Pending {
    std::optional<HttpResponse> head;  // Set once, before any bytes of a stream.
    std::string stream_bytes;          // Only for streams; a whole response has its body in head.
    bool is_stream = false;
    bool finished = false;  // Nothing follows.
  };

  // `wake` is called from the producer's thread after each change; it must not block.
  ResponseChannel(size_t max_buffered_bytes, std::function<void()> wake);

  void Send(HttpResponse response);
  void StartStream(HttpResponse head);
  // False when nobody will read this any more: stop producing.
  bool Write(std::string_view bytes);
  void Finish();

  // `callback` runs once, on the thread that notices, when the peer goes away before Finish() (or
  // at once if it already has). It is never called after Finish() or Send() has returned.
  void OnClose(std::function<void()> callback);
  bool closed() const;

  Pending Take();
  void Close();

 private:
  const size_t max_buffered_bytes_;
  const std::function<void()> wake_;
  mutable std::mutex mutex_;
  Pending pending_;
  bool has_head_ = false;
  bool finished_ = false;
  bool closed_ = false;
  std::function<void()> on_close_;
};

}  // namespace octavo::server
