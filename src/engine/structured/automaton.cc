// SPDX-License-Identifier: Apache-2.0
// Closures and interning.
#include "engine/structured/automaton.h"

#include <algorithm>
#include <set>

namespace octavo {

GrammarAutomaton::GrammarAutomaton(std::shared_ptr<const Grammar> grammar)
    : grammar_(std::move(grammar)) {
  const int32_t root = grammar_->rule_starts[static_cast<size_t>(grammar_->root)];
  start_ = InternClosure({{root, -1}});
}

// Equal stacks get equal ids, or kTooComplex when too deep.
int32_t GrammarAutomaton::PushStack(int32_t state, int32_t parent) {
  const int32_t depth = parent < 0 ? 1 : stack_[static_cast<size_t>(parent)].depth + 1;
  if (depth > kMaxDepth) return kTooComplex;
  const auto [it, added] =
      stack_ids_.try_emplace({state, parent}, static_cast<int32_t>(stack_.size()));
  if (added) stack_.push_back({state, parent, depth});
  return it->second;
}

int32_t GrammarAutomaton::InternClosure(std::vector<Config> configs) {
  constexpr size_t kMaxConfigs = 4096;  // of one set; more means hopeless ambiguity
  std::set<Config> seen;
  std::vector<Config> readers;
  bool accepts = false;
  while (!configs.empty()) {
    const Config config = configs.back();
    configs.pop_back();
    if (!seen.insert(config).second) continue;
    if (seen.size() > kMaxConfigs) return kTooComplex;
    const auto& [id, node] = config;
    const GrammarState& state = grammar_->states[static_cast<size_t>(id)];
    if (!state.bytes.empty()) readers.push_back(config);
    if (state.final && node < 0) accepts = true;
    if (state.final && node >= 0) {
      const StackNode& top = stack_[static_cast<size_t>(node)];
      configs.emplace_back(top.state, top.parent);
    }
    for (const int32_t target : state.empties) configs.emplace_back(target, node);
    for (const auto& call : state.calls) {
      const int32_t pushed = PushStack(call.target, node);
      if (pushed == kTooComplex) return kTooComplex;
      configs.emplace_back(grammar_->rule_starts[static_cast<size_t>(call.rule)], pushed);
    }
  }
  if (readers.empty() && !accepts) return kDead;
  std::sort(readers.begin(), readers.end());
  const auto [it, added] =
      set_ids_.try_emplace({readers, accepts}, static_cast<int32_t>(sets_.size()));
  if (added) {
    if (sets_.size() >= kMaxSets) {
      set_ids_.erase(it);
      return kTooComplex;
    }
    sets_.push_back({std::move(readers), accepts, nullptr});
  }
  return it->second;
}

int32_t GrammarAutomaton::Next(int32_t set, uint8_t byte) {
  const auto index = static_cast<size_t>(set);
  if (sets_[index].next == nullptr) {
    sets_[index].next = std::make_unique<std::array<int32_t, 256>>();
    sets_[index].next->fill(kUnknown);
  }
  const int32_t known = (*sets_[index].next)[byte];
  if (known != kUnknown) return known;
  std::vector<Config> configs;
  for (const auto& [id, node] : sets_[index].configs) {
    for (const auto& edge : grammar_->states[static_cast<size_t>(id)].bytes) {
      if (edge.low <= byte && byte <= edge.high) configs.emplace_back(edge.target, node);
    }
  }
  const int32_t next = configs.empty() ? kDead : InternClosure(std::move(configs));
  (*sets_[index].next)[byte] = next;
  return next;
}

}  // namespace octavo
