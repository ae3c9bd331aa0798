// SPDX-License-Identifier: Apache-2.0
// What one rendering may use up.
#pragma once

#include <cstdint>

#include "octavo/status.h"

namespace octavo::jinja {

class Budget {
 public:
  Budget(int64_t max_steps, int64_t max_bytes) : steps_(max_steps), bytes_(max_bytes) {}

  // One step is about one simple operation.
  Status Spend(int64_t steps) {
    if (steps > steps_) return ResourceExhausted("template: too many steps");
    steps_ -= steps;
    return Status::Ok();
  }
  // Memory of new values; it counts as used until the rendering ends. Call before allocating.
  Status Allocate(int64_t bytes) {
    if (bytes > bytes_) return ResourceExhausted("template: values use too much memory");
    bytes_ -= bytes;
    return Spend(bytes / 64);
  }
  // `count` copies of `bytes` more.
  Status Allocate(int64_t bytes, int64_t count) {
    if (count > 0 && bytes > bytes_ / count) return Allocate(bytes_ + 1);
    return Allocate(bytes * count);
  }
  int64_t bytes_left() const { return bytes_; }

 private:
  int64_t steps_;
  int64_t bytes_;
};

}  // namespace octavo::jinja
