// SPDX-License-Identifier: Apache-2.0
// Signal masks.
#include "hub/signals_as_errors.h"

#include <initializer_list>

namespace octavo::hub {

SignalsAsErrors::SignalsAsErrors() {
  sigemptyset(&blocked_);
  sigaddset(&blocked_, SIGPIPE);
  sigaddset(&blocked_, SIGXFSZ);
  sigpending(&pending_before_);
  pthread_sigmask(SIG_BLOCK, &blocked_, &old_mask_);
}

SignalsAsErrors::~SignalsAsErrors() {
  sigset_t ours = blocked_;
  for (const int signal : {SIGPIPE, SIGXFSZ}) {
    if (sigismember(&pending_before_, signal) == 1) sigdelset(&ours, signal);
  }
  constexpr timespec kNow = {};
  while (sigtimedwait(&ours, nullptr, &kNow) > 0) {
  }
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

}  // namespace octavo::hub
