// SPDX-License-Identifier: Apache-2.0
// Ctrl-C: the first asks the work to stop, the second ends the program.
#pragma once

#include <atomic>

#include "octavo/status.h"

namespace octavo {

// While an InterruptScope lives, SIGINT and SIGTERM set a flag that the work polls; a second signal
// before Reset() ends the process at once with 130. The old handlers return with the scope's end.
// One scope at a time.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // The flag, for code that takes a pointer to one. Valid for the program's life.
  const std::atomic<bool>& flag() const;

  bool requested() const { return flag().load(std::memory_order_relaxed); }

  // kCancelled when Ctrl-C was pressed, else OK.
  Status Check() const;

  // Forgets a request that was served (chat: the answer stopped, the program goes on).
  void Reset();
};

}  // namespace octavo
