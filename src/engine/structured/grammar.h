// SPDX-License-Identifier: Apache-2.0
// Byte-level context-free grammars as recursive transition networks, and how they are built.
//
// Every rule is a small automaton over bytes whose edges may also call rules. Regular expressions,
// JSON schemas and GBNF all become this; the automaton (automaton.h) runs it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "octavo/status.h"

namespace octavo {

struct GrammarState {
  struct ByteEdge {
    uint8_t low = 0;
    uint8_t high = 0;
    int32_t target = 0;
  };
  struct CallEdge {
    int32_t rule = 0;
    int32_t target = 0;  // where to go on after the rule
  };
  std::vector<ByteEdge> bytes;
  std::vector<CallEdge> calls;
  std::vector<int32_t> empties;  // reached without input
  bool final = false;            // the rule may end here
};

struct Grammar {
  std::vector<GrammarState> states;
  std::vector<int32_t> rule_starts;  // [rule]
  int32_t root = 0;                  // rule
};

// Builds expressions bottom-up, then turns them into a Grammar within a size limit.
class GrammarBuilder {
 public:
  using Expr = int32_t;
  using CodePointRange = std::pair<char32_t, char32_t>;
  static constexpr int32_t kUnbounded = -1;

  Expr Empty() { return Sequence({}); }
  Expr Byte(uint8_t low, uint8_t high);
  Expr Literal(std::string_view bytes);
  Expr Sequence(std::vector<Expr> parts);
  Expr Choice(std::vector<Expr> options);
  // `max` kUnbounded: no limit. Requires 0 <= min and min <= max.
  Expr Repeat(Expr part, int32_t min, int32_t max);
  Expr Optional(Expr part) { return Repeat(part, 0, 1); }
  // One code point of the ranges, as UTF-8. Surrogates are left out.
  Expr CodePoints(std::span<const CodePointRange> ranges);
  // All code points that are not in `ranges`.
  Expr CodePointsExcept(std::vector<CodePointRange> ranges);

  int32_t NewRule();
  void Define(int32_t rule, Expr body) { rules_[static_cast<size_t>(rule)] = body; }
  Expr Call(int32_t rule);

  // InvalidArgument: a rule that can begin with itself (left recursion), or too many states.
  Result<Grammar> Build(int32_t root) const;

  static constexpr size_t kMaxStates = 100'000;

 private:
  enum class Kind : uint8_t { kBytes, kSequence, kChoice, kRepeat, kCall };
  struct Node {
    Kind kind = Kind::kSequence;
    int32_t a = 0;  // low byte, min, rule
    int32_t b = 0;  // high byte, max
    std::vector<Expr> parts;
  };
  class Emitter;

  Expr Add(Node node);
  void AddUtf8Range(char32_t low, char32_t high, std::vector<Expr>& options);

  std::vector<Node> nodes_;
  std::vector<Expr> rules_;
};

}  // namespace octavo
