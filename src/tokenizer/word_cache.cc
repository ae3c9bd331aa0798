// SPDX-License-Identifier: Apache-2.0
// Sharded locks keep threads apart; a slot is one cache line.
#include "tokenizer/word_cache.h"

#include <algorithm>
#include <cstring>
#include <functional>

namespace octavo {

WordCache::WordCache() : shards_(std::make_unique<std::array<Shard, kNumShards>>()) {}

bool WordCache::Lookup(std::string_view word, std::vector<int32_t>* ids) const {
  if (word.empty() || word.size() > kMaxWordBytes) return false;
  const uint64_t hash = std::hash<std::string_view>{}(word);
  Shard& shard = (*shards_)[hash % kNumShards];
  const std::lock_guard lock(shard.mutex);
  const Slot& slot = shard.slots[(hash / kNumShards) % kSlotsPerShard];
  if (slot.word_bytes != word.size() || std::memcmp(slot.word, word.data(), word.size()) != 0) {
    return false;
  }
  ids->insert(ids->end(), slot.ids, slot.ids + slot.num_ids);
  return true;
}

void WordCache::Insert(std::string_view word, const int32_t* ids, size_t count) const {
  if (word.empty() || word.size() > kMaxWordBytes || count > kMaxIds) return;
  const uint64_t hash = std::hash<std::string_view>{}(word);
  Shard& shard = (*shards_)[hash % kNumShards];
  const std::lock_guard lock(shard.mutex);
  Slot& slot = shard.slots[(hash / kNumShards) % kSlotsPerShard];
  slot.word_bytes = static_cast<uint8_t>(word.size());
  slot.num_ids = static_cast<uint8_t>(count);
  std::memcpy(slot.word, word.data(), word.size());
  std::copy(ids, ids + count, slot.ids);
}

}  // namespace octavo
