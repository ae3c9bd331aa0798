// SPDX-License-Identifier: Apache-2.0
// The sorted vocabulary and its walk.
#include "engine/structured/token_table.h"

#include <algorithm>
#include <limits>

namespace octavo {

TokenTable::TokenTable(int64_t vocab_size, const std::function<std::string(int32_t)>& bytes_of)
    : rank_(static_cast<size_t>(vocab_size), -1) {
  std::vector<std::pair<std::string, int32_t>> tokens;
  for (int32_t token = 0; token < vocab_size; ++token) {
    std::string bytes = bytes_of(token);
    if (!bytes.empty()) tokens.emplace_back(std::move(bytes), token);
  }
  std::sort(tokens.begin(), tokens.end());
  std::string_view previous;
  for (const auto& [bytes, token] : tokens) {
    const auto differ = std::mismatch(bytes.begin(), bytes.end(), previous.begin(), previous.end());
    rank_[static_cast<size_t>(token)] = static_cast<int32_t>(entries_.size());
    entries_.push_back({static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(bytes.size()),
                        static_cast<uint32_t>(differ.first - bytes.begin()), token});
    bytes_ += bytes;
    previous = bytes;
  }
}

std::string_view TokenTable::BytesOf(int32_t token) const {
  const int32_t rank = rank_[static_cast<size_t>(token)];
  if (rank < 0) return {};
  const Entry& entry = entries_[static_cast<size_t>(rank)];
  return std::string_view(bytes_).substr(entry.begin, entry.size);
}

// Neighbours share prefixes: the walk resumes where two of them part, and skips all tokens that
// begin with bytes already found dead.
bool TokenTable::Allowed(GrammarAutomaton& automaton, int32_t set, TokenMask& mask) const {
  constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();
  mask.assign((rank_.size() + 63) / 64, 0);
  std::vector<int32_t> path = {set};  // path[d]: after d bytes of the current token
  uint32_t dead = kNever;             // the byte of the last walked token that failed
  for (const Entry& entry : entries_) {
    if (entry.shared > dead && dead != kNever) continue;
    path.resize(entry.shared + 1);
    dead = kNever;
    for (uint32_t d = entry.shared; d < entry.size; ++d) {
      const int32_t next =
          automaton.Next(path.back(), static_cast<uint8_t>(bytes_[entry.begin + d]));
      if (next == GrammarAutomaton::kTooComplex) return false;
      if (next == GrammarAutomaton::kDead) {
        dead = d;
        break;
      }
      path.push_back(next);
    }
    if (dead != kNever) continue;
    mask[static_cast<size_t>(entry.token) / 64] |= uint64_t{1} << (entry.token % 64);
  }
  return true;
}

}  // namespace octavo
