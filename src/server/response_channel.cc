// SPDX-License-Identifier: Apache-2.0
// ResponseChannel: a small mutex-guarded mailbox with an overflow rule.
#include "server/response_channel.h"

#include <utility>

namespace octavo::server {

ResponseChannel::ResponseChannel(size_t max_buffered_bytes, std::function<void()> wake)
    : max_buffered_bytes_(max_buffered_bytes), wake_(std::move(wake)) {}

void ResponseChannel::Send(HttpResponse response) {
  std::function<void()> unused;  // Destroyed outside the lock: it may own the channel itself.
  {
    const std::lock_guard lock(mutex_);
    if (finished_ || has_head_) return;
    pending_.head = std::move(response);
    pending_.finished = finished_ = has_head_ = true;
    unused = std::exchange(on_close_, nullptr);
  }
  wake_();
}

void ResponseChannel::StartStream(HttpResponse head) {
  {
    const std::lock_guard lock(mutex_);
    if (finished_ || has_head_) return;
    pending_.head = std::move(head);
    pending_.is_stream = has_head_ = true;
  }
  wake_();
}

bool ResponseChannel::Write(std::string_view bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || finished_) return false;
    if (pending_.stream_bytes.size() + bytes.size() <= max_buffered_bytes_) {
      pending_.stream_bytes.append(bytes);
    } else {
      closed_ = true;
      pending_.finished = finished_ = true;
    }
  }
  wake_();
  return !closed();
}

void ResponseChannel::Finish() {
  std::function<void()> unused;
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    pending_.finished = finished_ = true;
    unused = std::exchange(on_close_, nullptr);
  }
  wake_();
}

void ResponseChannel::OnClose(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (finished_ && !closed_) return;
    if (!closed_) {
      on_close_ = std::move(callback);
      return;
    }
  }
  callback();
}

bool ResponseChannel::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

ResponseChannel::Pending ResponseChannel::Take() {
  const std::lock_guard lock(mutex_);
  Pending taken;
  taken.is_stream = pending_.is_stream;
  taken.finished = pending_.finished;
  taken.head = std::exchange(pending_.head, std::nullopt);
  taken.stream_bytes = std::exchange(pending_.stream_bytes, {});
  return taken;
}

void ResponseChannel::Close() {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    pending_.finished = finished_ = true;
    callback = std::exchange(on_close_, nullptr);
  }
  if (callback) callback();
}

}  // namespace octavo::server
