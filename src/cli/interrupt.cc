// SPDX-License-Identifier: Apache-2.0
// Signal handling for long work in the terminal.
#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include "base/check.h"

namespace octavo {
namespace {

std::atomic<bool> g_requested{false};
std::atomic<bool> g_active{false};
struct sigaction g_old_int;
struct sigaction g_old_term;
static_assert(std::atomic<bool>::is_always_lock_free, "used in a signal handler");

void OnSignal(int) {
  if (g_requested.exchange(true)) _exit(130);
}

}  // namespace

InterruptScope::InterruptScope() {
  OCTAVO_CHECK(!g_active.exchange(true));
  g_requested = false;
  struct sigaction action = {};
  action.sa_handler = &OnSignal;  // no SA_RESTART: a blocked read returns, so chat sees Ctrl-C
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &g_old_int);
  sigaction(SIGTERM, &action, &g_old_term);
}

InterruptScope::~InterruptScope() {
  sigaction(SIGINT, &g_old_int, nullptr);
  sigaction(SIGTERM, &g_old_term, nullptr);
  g_active = false;
}

const std::atomic<bool>& InterruptScope::flag() const { return g_requested; }

Status InterruptScope::Check() const {
  return requested() ? Cancelled("interrupted") : Status::Ok();
}

void InterruptScope::Reset() { g_requested = false; }

}  // namespace octavo
