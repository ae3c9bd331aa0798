// SPDX-License-Identifier: Apache-2.0
// A trie over bytes: which known strings begin at a position of a text.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace octavo {

// Memory: 4 bytes per node plus one hash slot per edge; depth is the longest string.
class ByteTrie {
 public:
  ByteTrie() : nodes_(1, -1) { root_edges_.fill(0); }

  // Adds `text` (not empty). The first value of a repeated string stays.
  void Insert(std::string_view text, int32_t value) {
    uint32_t node = 0;
    for (const char c : text) {
      const auto byte = static_cast<uint8_t>(c);
      uint32_t& next = node == 0 ? root_edges_[byte] : edges_[Key(node, byte)];
      if (next == 0) {
        next = static_cast<uint32_t>(nodes_.size());
        nodes_.push_back(-1);
      }
      node = next;
    }
    if (nodes_[node] < 0) nodes_[node] = value;
  }

  // Calls found(length, value) for each string that begins at text[begin], shortest first.
  template <typename F>
  void ForEachPrefix(std::string_view text, size_t begin, F&& found) const {
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      node = Next(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (nodes_[node] >= 0) found(i + 1 - begin, nodes_[node]);
    }
  }

  bool HasFirstByte(uint8_t byte) const { return root_edges_[byte] != 0; }

 private:
  static uint64_t Key(uint32_t node, uint8_t byte) { return (uint64_t{node} << 8) | byte; }
  uint32_t Next(uint32_t node, uint8_t byte) const {
    if (node == 0) return root_edges_[byte];
    const auto it = edges_.find(Key(node, byte));
    return it == edges_.end() ? 0 : it->second;
  }

  std::vector<int32_t> nodes_;  // value at each node, -1: none
  std::array<uint32_t, 256> root_edges_;
  std::unordered_map<uint64_t, uint32_t> edges_;
};

}  // namespace octavo
