// SPDX-License-Identifier: Apache-2.0
// Finds stop strings in text that arrives piece by piece, and says how much may be shown already.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octavo {

class StopMatcher {
 public:
  StopMatcher() = default;
  StopMatcher(std::vector<std::string> stops, bool include_in_output);

  struct Match {
    std::string stop;
  };

  // Adds text. On a match the text after it is gone, and the stop string too unless it is to be
  // included; nothing may be pushed any more. With several stop strings in one piece the first of
  // the list wins, as in vLLM. `may_stop` false: text that is only shown.
  std::optional<Match> Push(std::string_view text, bool may_stop);

  // Text that no later piece can turn into a part of a stop string; `all`: whatever is left.
  std::string Take(bool all);

 private:
  size_t HeldBack() const;

  std::vector<std::string> stops_;
  bool include_ = false;
  std::string pending_;  // not taken yet
};

}  // namespace octavo
