// SPDX-License-Identifier: Apache-2.0
// Who owns which page of the KV pool: reference counts, copy-on-write and the prefix cache.
//
// Every sequence has one block table per KV group (layers that share a window). Table entry i is
// the page that holds tokens [i * block_size, (i + 1) * block_size):
//
//   sequence A, group 0:  [ 7 | 3 | 9 ]         page 7 and 3: two references, shared prefix
//   sequence B, group 0:  [ 7 | 3 | 4 ]
//   free list (LRU):      2 <-> 8 <-> 5 ...     5 may still serve the prefix cache
//
// A page is in exactly one state: free (no reference, in the free list) or used (references > 0).
// Orthogonally it may be *cached*: full, computed, and found by the hash of its tokens and all
// before them. A cached page stays findable while free, until it is handed out again. Page 0 is
// never handed out: it stands in table entries whose page left a sliding window.
//
// Single-threaded: the step thread owns it.
// Source: PagedAttention, arXiv:2309.06180, section 4; prefix caching as in vLLM V1.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/block_hash.h"
#include "octavo/status.h"

namespace octavo {

inline constexpr int32_t kNullBlock = 0;

// One sequence's share of the pool. Only BlockManager changes it.
struct SequenceBlocks {
  std::vector<std::vector<int32_t>> tables;  // [group][block]
  std::vector<int64_t> first_live;           // [group]: entries before it are kNullBlock
  Hash128 root;                              // parent of the first block's hash
  std::vector<Hash128> hashes;               // of full blocks, as far as they were needed
  int64_t num_published = 0;                 // blocks already offered to the prefix cache
};

// A page to copy before the step's forward pass.
struct BlockCopy {
  int32_t from = 0;
  int32_t to = 0;
};

struct BlockManagerOptions {
  int64_t num_blocks = 0;  // pages in the pool, page 0 included
  int64_t block_size = 16;
  std::vector<int64_t> windows;  // per group: sliding window in tokens, 0 = full attention
  bool enable_prefix_caching = true;
};

class BlockManager {
 public:
  BlockManager(BlockManagerOptions options, BlockHasher hasher);

  int64_t block_size() const { return options_.block_size; }
  int64_t num_groups() const { return static_cast<int64_t>(options_.windows.size()); }
  int64_t num_usable() const { return options_.num_blocks - 1; }
  int64_t num_free() const { return num_free_; }
  int64_t num_used() const { return num_usable() - num_free_; }
  int64_t num_free_cached() const { return num_free_cached_; }
  uint64_t num_copied() const { return num_copied_; }

  // An empty table whose prefix hashes start from `salt`.
  SequenceBlocks NewSequence(std::string_view salt) const;

  // Pages a sequence of `num_tokens` needs at most at any time, when it computes at most
  // `max_chunk` tokens per step.
  int64_t MaxBlocksOf(int64_t num_tokens, int64_t max_chunk) const;

  // Takes references on the longest cached prefix of `tokens`, at most tokens.size() - 1 of them
  // (one has to be computed to get logits), and returns its length in tokens. `blocks` must be
  // empty.
  int64_t AcquirePrefix(SequenceBlocks& blocks, std::span<const int32_t> tokens);

  // Makes positions [num_computed, num_computed + num_new) writable: adds pages and replaces shared
  // ones, appending to `copies` those whose old tokens must be copied. False, with nothing changed,
  // when the pool has too few free pages.
  bool Allocate(SequenceBlocks& blocks, int64_t num_computed, int64_t num_new,
                std::vector<BlockCopy>& copies);

  // The first `num_computed` of `tokens` are in the cache now: publishes newly full pages under
  // their hashes and gives back pages that left their group's window.
  void Commit(SequenceBlocks& blocks, std::span<const int32_t> tokens, int64_t num_computed);

  // A second owner of all of `parent`'s pages.
  SequenceBlocks Fork(const SequenceBlocks& parent);

  // Gives all pages back; the sequence's last page is reused first.
  void Free(SequenceBlocks& blocks);

  // Forgets all cached prefixes. Pages in use stay in use.
  void ResetPrefixCache();

  // Verifies that references, free list and prefix cache agree with each other and with the tables
  // of all live sequences. The error names the first page that does not.
  Status CheckIntegrity(std::span<const SequenceBlocks* const> live) const;

 private:
  struct Block {
    int32_t references = 0;
    int32_t prev = -1;  // free list neighbours
    int32_t next = -1;
    int32_t group = -1;  // whose cache finds it; -1: not cached
    Hash128 hash;
  };
  using Cache = std::unordered_map<Hash128, int32_t, Hash128Hasher>;

  Block& At(int32_t id) { return blocks_[static_cast<size_t>(id)]; }
  const Block& At(int32_t id) const { return blocks_[static_cast<size_t>(id)]; }

  void ExtendHashes(SequenceBlocks& blocks, std::span<const int32_t> tokens, int64_t count) const;
  int64_t MatchingBlocks(const SequenceBlocks& blocks, int64_t limit) const;
  int64_t FirstNeeded(int64_t group, int64_t num_tokens) const;
  int64_t CountNeeded(const SequenceBlocks& blocks, int64_t num_computed, int64_t end) const;
  void ReleaseOutOfWindow(SequenceBlocks& blocks, int64_t num_computed);

  int32_t Pop();  // a free page, no longer cached, with one reference
  void Reference(int32_t id);
  void Release(int32_t id);
  void Uncache(int32_t id);
  void Link(int32_t id, bool front);
  void Unlink(int32_t id);
  Status CheckReferences(std::span<const SequenceBlocks* const> live) const;
  Status CheckFreeList() const;
  Status CheckCache() const;

  BlockManagerOptions options_;
  BlockHasher hasher_;
  std::vector<Block> blocks_;
  std::vector<Cache> caches_;  // [group]
  int32_t free_head_ = -1;
  int32_t free_tail_ = -1;
  int64_t num_free_ = 0;
  int64_t num_free_cached_ = 0;
  uint64_t num_copied_ = 0;
};

}  // namespace octavo
