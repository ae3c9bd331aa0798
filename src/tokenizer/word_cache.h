// SPDX-License-Identifier: Apache-2.0
// A small bounded cache from short words to their token ids, shared by threads.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace octavo {

// Direct-mapped: a new word evicts the one in its slot. Memory is fixed (about 1 MiB).
class WordCache {
 public:
  static constexpr size_t kMaxWordBytes = 30;
  static constexpr size_t kMaxIds = 8;

  WordCache();

  // Appends the ids of `word` and returns true when it is cached.
  bool Lookup(std::string_view word, std::vector<int32_t>* ids) const;

  // Remembers `count` ids; ignores what does not fit a slot.
  void Insert(std::string_view word, const int32_t* ids, size_t count) const;

 private:
  struct Slot {  // one cache line
    uint8_t word_bytes = 0;
    uint8_t num_ids = 0;
    char word[kMaxWordBytes];
    int32_t ids[kMaxIds];
  };
  static constexpr size_t kSlotsPerShard = 256;
  struct Shard {
    std::mutex mutex;
    std::array<Slot, kSlotsPerShard> slots;
  };
  static constexpr size_t kNumShards = 64;

  std::unique_ptr<std::array<Shard, kNumShards>> shards_;
};

}  // namespace octavo
