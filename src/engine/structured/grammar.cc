// SPDX-License-Identifier: Apache-2.0
// Expressions to states.
#include "engine/structured/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_set>

namespace octavo {
namespace {

constexpr char32_t kLastCodePoint = 0x10FFFF;

int EncodeUtf8(char32_t code, std::array<uint8_t, 4>& out) {
  const auto tail = [code](int shift) {
    return static_cast<uint8_t>(0x80 | (code >> shift & 0x3F));
  };
  if (code < 0x80) {
    out = {static_cast<uint8_t>(code)};
    return 1;
  }
  if (code < 0x800) {
    out = {static_cast<uint8_t>(0xC0 | code >> 6), tail(0)};
    return 2;
  }
  if (code < 0x10000) {
    out = {static_cast<uint8_t>(0xE0 | code >> 12), tail(6), tail(0)};
    return 3;
  }
  out = {static_cast<uint8_t>(0xF0 | code >> 18), tail(12), tail(6), tail(0)};
  return 4;
}

// Marks the rules that can match nothing, until no more are found.
std::vector<bool> NullableRules(const Grammar& grammar) {
  std::vector<bool> nullable(grammar.rule_starts.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t rule = 0; rule < nullable.size(); ++rule) {
      if (nullable[rule]) continue;
      std::vector<int32_t> todo = {grammar.rule_starts[rule]};
      std::unordered_set<int32_t> seen;
      while (!todo.empty() && !nullable[rule]) {
        const int32_t id = todo.back();
        todo.pop_back();
        if (!seen.insert(id).second) continue;
        const GrammarState& state = grammar.states[static_cast<size_t>(id)];
        if (state.final) changed = nullable[rule] = true;
        todo.insert(todo.end(), state.empties.begin(), state.empties.end());
        for (const auto& call : state.calls) {
          if (nullable[static_cast<size_t>(call.rule)]) todo.push_back(call.target);
        }
      }
    }
  }
  return nullable;
}

// Rules that `rule` may call before it has read a byte.
std::vector<int32_t> FirstCalls(const Grammar& grammar, size_t rule,
                                const std::vector<bool>& nullable) {
  std::vector<int32_t> calls;
  std::vector<int32_t> todo = {grammar.rule_starts[rule]};
  std::unordered_set<int32_t> seen;
  while (!todo.empty()) {
    const int32_t id = todo.back();
    todo.pop_back();
    if (!seen.insert(id).second) continue;
    const GrammarState& state = grammar.states[static_cast<size_t>(id)];
    todo.insert(todo.end(), state.empties.begin(), state.empties.end());
    for (const auto& call : state.calls) {
      calls.push_back(call.rule);
      if (nullable[static_cast<size_t>(call.rule)]) todo.push_back(call.target);
    }
  }
  return calls;
}

bool HasLeftRecursion(const Grammar& grammar) {
  const auto nullable = NullableRules(grammar);
  std::vector<std::vector<int32_t>> calls;
  for (size_t rule = 0; rule < nullable.size(); ++rule) {
    calls.push_back(FirstCalls(grammar, rule, nullable));
  }
  // Remove rules whose first calls are all removed; what stays lies on or before a cycle.
  std::vector<bool> removed(calls.size());
  size_t num_removed = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t rule = 0; rule < calls.size(); ++rule) {
      const bool done = std::all_of(calls[rule].begin(), calls[rule].end(), [&](int32_t callee) {
        return removed[static_cast<size_t>(callee)];
      });
      if (removed[rule] || !done) continue;
      changed = removed[rule] = true;
      ++num_removed;
    }
  }
  return num_removed < calls.size();
}

}  // namespace

GrammarBuilder::Expr GrammarBuilder::Add(Node node) {
  nodes_.push_back(std::move(node));
  return static_cast<Expr>(nodes_.size()) - 1;
}

GrammarBuilder::Expr GrammarBuilder::Byte(uint8_t low, uint8_t high) {
  return Add({Kind::kBytes, low, high, {}});
}

GrammarBuilder::Expr GrammarBuilder::Literal(std::string_view bytes) {
  std::vector<Expr> parts;
  for (const char c : bytes)
    parts.push_back(Byte(static_cast<uint8_t>(c), static_cast<uint8_t>(c)));
  return Sequence(std::move(parts));
}

GrammarBuilder::Expr GrammarBuilder::Sequence(std::vector<Expr> parts) {
  return Add({Kind::kSequence, 0, 0, std::move(parts)});
}

GrammarBuilder::Expr GrammarBuilder::Choice(std::vector<Expr> options) {
  return Add({Kind::kChoice, 0, 0, std::move(options)});
}

GrammarBuilder::Expr GrammarBuilder::Repeat(Expr part, int32_t min, int32_t max) {
  return Add({Kind::kRepeat, min, max, {part}});
}

GrammarBuilder::Expr GrammarBuilder::Call(int32_t rule) { return Add({Kind::kCall, rule, 0, {}}); }

int32_t GrammarBuilder::NewRule() {
  rules_.push_back(-1);
  return static_cast<int32_t>(rules_.size()) - 1;
}

// Splits until low and high differ only in trailing bytes that run over their whole range.
void GrammarBuilder::AddUtf8Range(char32_t low, char32_t high, std::vector<Expr>& options) {
  for (const char32_t limit : {char32_t{0x7F}, char32_t{0x7FF}, char32_t{0xFFFF}}) {
    if (low <= limit && limit < high) {
      AddUtf8Range(low, limit, options);
      AddUtf8Range(limit + 1, high, options);
      return;
    }
  }
  for (int tail = 1; tail < 4; ++tail) {
    const char32_t mask = (char32_t{1} << (6 * tail)) - 1;
    if (high < 0x80 || (low & ~mask) == (high & ~mask)) continue;
    if ((low & mask) != 0) {
      AddUtf8Range(low, low | mask, options);
      AddUtf8Range((low | mask) + 1, high, options);
      return;
    }
    if ((high & mask) != mask) {
      AddUtf8Range(low, (high & ~mask) - 1, options);
      AddUtf8Range(high & ~mask, high, options);
      return;
    }
  }
  std::array<uint8_t, 4> first{};
  std::array<uint8_t, 4> last{};
  const int length = EncodeUtf8(low, first);
  EncodeUtf8(high, last);
  std::vector<Expr> parts;
  for (size_t i = 0; i < static_cast<size_t>(length); ++i) parts.push_back(Byte(first[i], last[i]));
  options.push_back(Sequence(std::move(parts)));
}

GrammarBuilder::Expr GrammarBuilder::CodePoints(std::span<const CodePointRange> ranges) {
  std::vector<Expr> options;
  for (const auto& [low, high] : ranges) {
    constexpr char32_t kFirstSurrogate = 0xD800;
    constexpr char32_t kLastSurrogate = 0xDFFF;
    if (low < kFirstSurrogate) {
      AddUtf8Range(low, std::min<char32_t>(high, kFirstSurrogate - 1), options);
    }
    if (high > kLastSurrogate)
      AddUtf8Range(std::max<char32_t>(low, kLastSurrogate + 1), high, options);
  }
  return Choice(std::move(options));
}

GrammarBuilder::Expr GrammarBuilder::CodePointsExcept(std::vector<CodePointRange> ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<CodePointRange> rest;
  char32_t next = 0;
  for (const auto& [low, high] : ranges) {
    if (low > next) rest.emplace_back(next, low - 1);
    next = std::max<char32_t>(next, high + 1);
  }
  if (next <= kLastCodePoint) rest.emplace_back(next, kLastCodePoint);
  return CodePoints(rest);
}

// Thompson's construction: each expression becomes a path between two states.
class GrammarBuilder::Emitter {
 public:
  explicit Emitter(const GrammarBuilder& builder) : builder_(builder) {}

  Result<Grammar> Run(int32_t root) {
    for (size_t rule = 0; rule < builder_.rules_.size(); ++rule) {
      const int32_t start = NewState();
      const int32_t end = NewState();
      grammar_.states[static_cast<size_t>(end)].final = true;
      grammar_.rule_starts.push_back(start);
      Emit(builder_.rules_[rule], start, end);
      if (overflow_) {
        return InvalidArgument(fmt::format(
            "structured output: needs more than {} states; shorten repetitions", kMaxStates));
      }
    }
    grammar_.root = root;
    if (HasLeftRecursion(grammar_)) {
      return InvalidArgument("structured output: a rule that begins with itself (left recursion)");
    }
    return std::move(grammar_);
  }

 private:
  int32_t NewState() {
    overflow_ = overflow_ || grammar_.states.size() >= kMaxStates;
    if (overflow_) return 0;
    grammar_.states.emplace_back();
    return static_cast<int32_t>(grammar_.states.size()) - 1;
  }

  GrammarState& At(int32_t state) { return grammar_.states[static_cast<size_t>(state)]; }

  void Emit(Expr expr, int32_t from, int32_t to) {
    if (overflow_) return;
    const Node& node = builder_.nodes_[static_cast<size_t>(expr)];
    switch (node.kind) {
      case Kind::kBytes:
        At(from).bytes.push_back({static_cast<uint8_t>(node.a), static_cast<uint8_t>(node.b), to});
        return;
      case Kind::kCall:
        At(from).calls.push_back({node.a, to});
        return;
      case Kind::kChoice:
        for (const Expr option : node.parts) Emit(option, from, to);
        return;
      case Kind::kSequence:
        EmitSequence(node.parts, from, to);
        return;
      case Kind::kRepeat:
        EmitRepeat(node, from, to);
        return;
    }
  }

  void EmitSequence(const std::vector<Expr>& parts, int32_t from, int32_t to) {
    if (parts.empty()) return At(from).empties.push_back(to);
    for (size_t i = 0; i < parts.size() && !overflow_; ++i) {
      const int32_t next = i + 1 == parts.size() ? to : NewState();
      Emit(parts[i], from, next);
      from = next;
    }
  }

  void EmitRepeat(const Node& node, int32_t from, int32_t to) {
    const Expr part = node.parts.front();
    for (int32_t i = 0; i < node.a && !overflow_; ++i) {
      const int32_t next = NewState();
      Emit(part, from, next);
      from = next;
    }
    if (node.b == kUnbounded) {
      const int32_t loop = NewState();
      At(from).empties.push_back(loop);
      Emit(part, loop, loop);
      At(loop).empties.push_back(to);
      return;
    }
    for (int32_t i = node.a; i < node.b && !overflow_; ++i) {
      const int32_t next = NewState();
      At(from).empties.push_back(to);
      Emit(part, from, next);
      from = next;
    }
    if (!overflow_) At(from).empties.push_back(to);
  }

  const GrammarBuilder& builder_;
  Grammar grammar_;
  bool overflow_ = false;
};

Result<Grammar> GrammarBuilder::Build(int32_t root) const { return Emitter(*this).Run(root); }

}  // namespace octavo
