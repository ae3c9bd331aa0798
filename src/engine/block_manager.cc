// SPDX-License-Identifier: Apache-2.0
// Page bookkeeping: allocation, sharing, prefix cache, LRU reuse.
#include "engine/block_manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace octavo {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

BlockManager::BlockManager(BlockManagerOptions options, BlockHasher hasher)
    : options_(std::move(options)),
      hasher_(hasher),
      blocks_(static_cast<size_t>(options_.num_blocks)),
      caches_(options_.windows.size()) {
  OCTAVO_CHECK(options_.num_blocks >= 2 && options_.block_size > 0 && !options_.windows.empty());
  for (int64_t id = 1; id < options_.num_blocks; ++id) Link(static_cast<int32_t>(id), false);
}

SequenceBlocks BlockManager::NewSequence(std::string_view salt) const {
  SequenceBlocks blocks;
  blocks.tables.resize(options_.windows.size());
  blocks.first_live.resize(options_.windows.size());
  blocks.root = hasher_.Root(salt);
  return blocks;
}

int64_t BlockManager::MaxBlocksOf(int64_t num_tokens, int64_t max_chunk) const {
  int64_t total = 0;
  for (const int64_t window : options_.windows) {
    const int64_t all = CeilDiv(num_tokens, block_size());
    const int64_t live = CeilDiv(window + max_chunk, block_size()) + 1;
    total += window > 0 ? std::min(all, live) : all;
  }
  return total;
}

// The first block that a query at position `num_tokens` (the next one) can still see.
int64_t BlockManager::FirstNeeded(int64_t group, int64_t num_tokens) const {
  const int64_t window = options_.windows[static_cast<size_t>(group)];
  if (window == 0) return 0;
  return std::max<int64_t>(0, num_tokens - window + 1) / block_size();
}

void BlockManager::ExtendHashes(SequenceBlocks& blocks, std::span<const int32_t> tokens,
                                int64_t count) const {
  const size_t size = static_cast<size_t>(block_size());
  for (size_t i = blocks.hashes.size(); i < static_cast<size_t>(count); ++i) {
    const Hash128& parent = i == 0 ? blocks.root : blocks.hashes[i - 1];
    blocks.hashes.push_back(hasher_.Block(parent, tokens.subspan(i * size, size)));
  }
}

// Length in blocks of the longest prefix that every group can serve. A window group needs only the
// blocks its next query sees, so the search shrinks the prefix until all groups agree.
int64_t BlockManager::MatchingBlocks(const SequenceBlocks& blocks, int64_t limit) const {
  const auto found = [&](int64_t group, int64_t i) {
    return caches_[static_cast<size_t>(group)].contains(blocks.hashes[static_cast<size_t>(i)]);
  };
  for (int64_t group = 0; group < num_groups(); ++group) {
    if (options_.windows[static_cast<size_t>(group)] > 0) continue;
    int64_t i = 0;
    while (i < limit && found(group, i)) ++i;
    limit = i;
  }
  for (bool shrunk = true; shrunk;) {
    shrunk = false;
    for (int64_t group = 0; group < num_groups(); ++group) {
      int64_t i = limit - 1;
      const int64_t first = FirstNeeded(group, limit * block_size());
      while (i >= first && found(group, i)) --i;
      if (i < first) continue;
      limit = i;
      shrunk = true;
    }
  }
  return limit;
}

int64_t BlockManager::AcquirePrefix(SequenceBlocks& blocks, std::span<const int32_t> tokens) {
  if (!options_.enable_prefix_caching || tokens.size() < 2) return 0;
  const int64_t limit = (static_cast<int64_t>(tokens.size()) - 1) / block_size();
  ExtendHashes(blocks, tokens, limit);
  const int64_t count = MatchingBlocks(blocks, limit);
  for (int64_t group = 0; group < num_groups(); ++group) {
    const auto g = static_cast<size_t>(group);
    auto& table = blocks.tables[g];
    OCTAVO_DCHECK(table.empty());
    table.assign(static_cast<size_t>(count), kNullBlock);
    blocks.first_live[g] = FirstNeeded(group, count * block_size());
    for (auto i = static_cast<size_t>(blocks.first_live[g]); i < table.size(); ++i) {
      table[i] = caches_[g].at(blocks.hashes[i]);
      Reference(table[i]);
    }
  }
  blocks.num_published = count;
  return count * block_size();
}

// Pages Allocate has to take from the free list to make [num_computed, end) writable.
int64_t BlockManager::CountNeeded(const SequenceBlocks& blocks, int64_t num_computed,
                                  int64_t end) const {
  int64_t needed = 0;
  const int64_t last = CeilDiv(end, block_size());
  for (const auto& table : blocks.tables) {
    const auto have = static_cast<int64_t>(table.size());
    needed += std::max<int64_t>(0, last - have);
    for (int64_t i = num_computed / block_size(); i < std::min(have, last); ++i) {
      needed += At(table[static_cast<size_t>(i)]).references > 1;
    }
  }
  return needed;
}

bool BlockManager::Allocate(SequenceBlocks& blocks, int64_t num_computed, int64_t num_new,
                            std::vector<BlockCopy>& copies) {
  const int64_t end = num_computed + num_new;
  if (CountNeeded(blocks, num_computed, end) > num_free_) return false;
  const int64_t last = CeilDiv(end, block_size());
  for (auto& table : blocks.tables) {
    const int64_t have = static_cast<int64_t>(table.size());
    for (int64_t i = num_computed / block_size(); i < std::min(have, last); ++i) {
      int32_t& id = table[static_cast<size_t>(i)];
      if (At(id).references == 1) continue;
      const int32_t copy = Pop();
      if (i * block_size() < num_computed) {  // else it holds nothing of this sequence yet
        copies.push_back({id, copy});
        ++num_copied_;
      }
      Release(id);
      id = copy;
    }
    while (static_cast<int64_t>(table.size()) < last) table.push_back(Pop());
  }
  return true;
}

void BlockManager::Commit(SequenceBlocks& blocks, std::span<const int32_t> tokens,
                          int64_t num_computed) {
  if (options_.enable_prefix_caching) {
    const int64_t full = num_computed / block_size();
    ExtendHashes(blocks, tokens, full);
    for (; blocks.num_published < full; ++blocks.num_published) {
      const auto i = static_cast<size_t>(blocks.num_published);
      for (size_t g = 0; g < blocks.tables.size(); ++g) {
        const int32_t id = blocks.tables[g][i];
        if (id == kNullBlock || At(id).group >= 0) continue;
        if (!caches_[g].try_emplace(blocks.hashes[i], id).second) continue;  // an equal page exists
        At(id).group = static_cast<int32_t>(g);
        At(id).hash = blocks.hashes[i];
      }
    }
  }
  ReleaseOutOfWindow(blocks, num_computed);
}

void BlockManager::ReleaseOutOfWindow(SequenceBlocks& blocks, int64_t num_computed) {
  for (int64_t group = 0; group < num_groups(); ++group) {
    const auto g = static_cast<size_t>(group);
    const int64_t first = std::min<int64_t>(FirstNeeded(group, num_computed),
                                            static_cast<int64_t>(blocks.tables[g].size()));
    for (; blocks.first_live[g] < first; ++blocks.first_live[g]) {
      int32_t& id = blocks.tables[g][static_cast<size_t>(blocks.first_live[g])];
      Release(std::exchange(id, kNullBlock));
    }
  }
}

SequenceBlocks BlockManager::Fork(const SequenceBlocks& parent) {
  for (const auto& table : parent.tables) {
    for (const int32_t id : table) {
      if (id != kNullBlock) Reference(id);
    }
  }
  return parent;
}

void BlockManager::Free(SequenceBlocks& blocks) {
  for (size_t g = 0; g < blocks.tables.size(); ++g) {
    auto& table = blocks.tables[g];
    for (auto it = table.rbegin(); it != table.rend(); ++it) {
      if (*it != kNullBlock) Release(*it);
    }
    table.clear();
    blocks.first_live[g] = 0;
  }
  blocks.num_published = 0;
}

void BlockManager::ResetPrefixCache() {
  for (auto& cache : caches_) {
    for (const auto& [hash, id] : cache) At(id).group = -1;
    cache.clear();
  }
  num_free_cached_ = 0;
}

int32_t BlockManager::Pop() {
  OCTAVO_CHECK(free_head_ >= 0);
  const int32_t id = free_head_;
  Unlink(id);
  if (At(id).group >= 0) Uncache(id);
  At(id).references = 1;
  return id;
}

void BlockManager::Reference(int32_t id) {
  if (At(id).references++ == 0) Unlink(id);
}

// A page without cached content is worth nothing and is reused first; a cached one goes to the LRU
// end.
void BlockManager::Release(int32_t id) {
  OCTAVO_DCHECK(At(id).references > 0);
  if (--At(id).references == 0) Link(id, At(id).group < 0);
}

void BlockManager::Uncache(int32_t id) {
  Block& block = At(id);
  caches_[static_cast<size_t>(block.group)].erase(block.hash);
  block.group = -1;
}

void BlockManager::Link(int32_t id, bool front) {
  Block& block = At(id);
  block.prev = front ? -1 : free_tail_;
  block.next = front ? free_head_ : -1;
  (block.prev >= 0 ? At(block.prev).next : free_head_) = id;
  (block.next >= 0 ? At(block.next).prev : free_tail_) = id;
  ++num_free_;
  num_free_cached_ += block.group >= 0;
}

void BlockManager::Unlink(int32_t id) {
  Block& block = At(id);
  (block.prev >= 0 ? At(block.prev).next : free_head_) = block.next;
  (block.next >= 0 ? At(block.next).prev : free_tail_) = block.prev;
  block.prev = block.next = -1;
  --num_free_;
  num_free_cached_ -= block.group >= 0;
}

Status BlockManager::CheckIntegrity(std::span<const SequenceBlocks* const> live) const {
  OCTAVO_RETURN_IF_ERROR(CheckReferences(live));
  OCTAVO_RETURN_IF_ERROR(CheckFreeList());
  return CheckCache();
}

Status BlockManager::CheckReferences(std::span<const SequenceBlocks* const> live) const {
  std::vector<int32_t> owners(blocks_.size());
  for (const SequenceBlocks* sequence : live) {
    for (size_t g = 0; g < sequence->tables.size(); ++g) {
      const auto& table = sequence->tables[g];
      for (size_t i = 0; i < table.size(); ++i) {
        const bool left_window = static_cast<int64_t>(i) < sequence->first_live[g];
        if ((table[i] == kNullBlock) != left_window) {
          return Internal(fmt::format("block table of group {}: entry {} is page {}, first live {}",
                                      g, i, table[i], sequence->first_live[g]));
        }
        ++owners[static_cast<size_t>(table[i])];
      }
    }
  }
  for (size_t id = 1; id < blocks_.size(); ++id) {
    if (blocks_[id].references != owners[id]) {
      return Internal(
          fmt::format("page {}: {} references, {} owners", id, blocks_[id].references, owners[id]));
    }
  }
  return Status::Ok();
}

Status BlockManager::CheckFreeList() const {
  int64_t listed = 0;
  int64_t cached = 0;
  int32_t previous = -1;
  for (int32_t id = free_head_; id >= 0; previous = id, id = At(id).next) {
    if (At(id).references != 0 || At(id).prev != previous || ++listed > num_usable()) {
      return Internal(fmt::format("page {}: in the free list with {} references, prev {} (want {})",
                                  id, At(id).references, At(id).prev, previous));
    }
    cached += At(id).group >= 0;
  }
  const auto unreferenced = std::count_if(blocks_.begin() + 1, blocks_.end(),
                                          [](const Block& b) { return b.references == 0; });
  if (listed != num_free_ || listed != unreferenced || cached != num_free_cached_) {
    return Internal(fmt::format("free list: {} pages ({} cached), counted {} ({}), unreferenced {}",
                                listed, cached, num_free_, num_free_cached_, unreferenced));
  }
  return Status::Ok();
}

Status BlockManager::CheckCache() const {
  size_t entries = 0;
  for (size_t g = 0; g < caches_.size(); ++g) {
    entries += caches_[g].size();
    for (const auto& [hash, id] : caches_[g]) {
      if (At(id).group != static_cast<int32_t>(g) || !(At(id).hash == hash)) {
        return Internal(
            fmt::format("page {}: found by group {}'s cache, belongs to {}", id, g, At(id).group));
      }
    }
  }
  const auto marked =
      std::count_if(blocks_.begin(), blocks_.end(), [](const Block& b) { return b.group >= 0; });
  if (static_cast<size_t>(marked) != entries) {
    return Internal(fmt::format("prefix cache: {} entries, {} cached pages", entries, marked));
  }
  return Status::Ok();
}

}  // namespace octavo
