// SPDX-License-Identifier: Apache-2.0
// Keeps the system from ending the process where an error code says the same.
#pragma once

#include <signal.h>

namespace octavo::hub {

// Writing to a closed connection (SIGPIPE) and growing a file beyond the process's limit (SIGXFSZ)
// end a process unless the signals are blocked; then they are errors like others. For the calling
// thread and those it starts; the scope's end drops what arrived meanwhile and restores the old
// mask.
class SignalsAsErrors {
 public:
  SignalsAsErrors();
  ~SignalsAsErrors();
  SignalsAsErrors(const SignalsAsErrors&) = delete;
  SignalsAsErrors& operator=(const SignalsAsErrors&) = delete;

 private:
  sigset_t blocked_;
  sigset_t pending_before_;
  sigset_t old_mask_;
};

}  // namespace octavo::hub
