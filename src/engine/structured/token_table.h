// SPDX-License-Identifier: Apache-2.0
// A vocabulary's byte strings in sorted order, for walking all tokens along an automaton at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/structured/automaton.h"

namespace octavo {

// One bit per token.
using TokenMask = std::vector<uint64_t>;

class TokenTable {
 public:
  // `bytes_of(id)`: empty for tokens that must never be produced by a constraint (special ones).
  TokenTable(int64_t vocab_size, const std::function<std::string(int32_t)>& bytes_of);

  // The tokens whose bytes lead from `set` to somewhere. False when the automaton gives up.
  bool Allowed(GrammarAutomaton& automaton, int32_t set, TokenMask& mask) const;

  std::string_view BytesOf(int32_t token) const;
  int64_t vocab_size() const { return static_cast<int64_t>(rank_.size()); }

 private:
  struct Entry {
    uint32_t begin = 0;
    uint32_t size = 0;
    uint32_t shared = 0;  // bytes in common with the entry before
    int32_t token = 0;
  };
  std::string bytes_;
  std::vector<Entry> entries_;  // sorted by bytes
  std::vector<int32_t> rank_;   // [token]: index into entries_, or -1
};

}  // namespace octavo
