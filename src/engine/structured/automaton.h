// SPDX-License-Identifier: Apache-2.0
// Runs a grammar byte by byte: a pushdown automaton whose reached configurations become the states
// of a lazily built DFA, so that the loops inside a string or a list cost one table look-up per
// byte.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/structured/grammar.h"

namespace octavo {

class GrammarAutomaton {
 public:
  explicit GrammarAutomaton(std::shared_ptr<const Grammar> grammar);

  static constexpr int32_t kDead = -1;        // no text of the grammar begins this way
  static constexpr int32_t kTooComplex = -2;  // beyond kMaxSets or kMaxDepth: give up

  int32_t start() const { return start_; }
  int32_t Next(int32_t set, uint8_t byte);

  // The text so far is complete.
  bool Accepts(int32_t set) const { return sets_[static_cast<size_t>(set)].accepts; }

  static constexpr size_t kMaxSets = 16'384;
  static constexpr int32_t kMaxDepth = 256;

 private:
  // A place in the grammar: a state, and where to return to after its rule (a linked stack).
  using Config = std::pair<int32_t, int32_t>;  // {state, stack node}; node -1: the root rule
  struct StackNode {
    int32_t state = 0;
    int32_t parent = -1;
    int32_t depth = 0;
  };
  struct Set {
    std::vector<Config> configs;  // sorted, only those that read a byte
    bool accepts = false;
    std::unique_ptr<std::array<int32_t, 256>> next;  // kUnknown where not computed yet
  };
  static constexpr int32_t kUnknown = -3;

  int32_t PushStack(int32_t state, int32_t parent);
  int32_t InternClosure(std::vector<Config> configs);

  std::shared_ptr<const Grammar> grammar_;
  std::vector<StackNode> stack_;
  std::map<Config, int32_t> stack_ids_;
  std::vector<Set> sets_;
  std::map<std::pair<std::vector<Config>, bool>, int32_t> set_ids_;
  int32_t start_ = 0;
};

}  // namespace octavo
