// SPDX-License-Identifier: Apache-2.0
// Stop strings over pending text.
#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace octavo {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_in_output)
    : stops_(std::move(stops)), include_(include_in_output) {}

// Everything a match may begin in is still pending: Take holds back each proper prefix of a stop
// string. So only pending text has to be searched.
std::optional<StopMatcher::Match> StopMatcher::Push(std::string_view text, bool may_stop) {
  const size_t before = pending_.size();
  pending_ += text;
  if (!may_stop || text.empty()) return std::nullopt;
  for (const std::string& stop : stops_) {
    const size_t from = before >= stop.size() ? before - stop.size() + 1 : 0;
    const size_t at = pending_.find(stop, from);
    if (at == std::string::npos) continue;
    pending_.resize(include_ ? at + stop.size() : at);
    return Match{stop};
  }
  return std::nullopt;
}

// Length of the longest end of the pending text that is a proper prefix of a stop string.
size_t StopMatcher::HeldBack() const {
  size_t held = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, pending_.size()); length > held; --length) {
      if (std::string_view(pending_).ends_with(std::string_view(stop).substr(0, length))) {
        held = length;
      }
    }
  }
  return held;
}

std::string StopMatcher::Take(bool all) {
  size_t count = pending_.size() - (all ? 0 : HeldBack());
  // Never cut inside a character.
  while (count > 0 && count < pending_.size() && (pending_[count] & 0xC0) == 0x80) --count;
  std::string text = pending_.substr(0, count);
  pending_.erase(0, count);
  return text;
}

}  // namespace octavo
