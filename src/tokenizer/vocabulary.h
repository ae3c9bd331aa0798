// SPDX-License-Identifier: Apache-2.0
// Token strings and ids in both directions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"
#include "tokenizer/tokenizer_spec.h"

namespace octavo {

// Immutable after Create; a flat hash table over the token strings.
class Vocabulary {
 public:
  // Takes the strings out of `entries`. Of entries with the same token Find gives the last. Fails
  // on a negative or repeated id, or ids so sparse that the table would be far larger than the
  // file.
  static Result<Vocabulary> Create(std::vector<VocabEntry> entries);

  std::optional<int32_t> Find(std::string_view token) const;

  // The token of `id`, or nullptr when no token has it.
  const std::string* TokenOf(int32_t id) const;

  // Number of distinct tokens.
  size_t num_tokens() const { return num_tokens_; }
  // One more than the largest id.
  int32_t id_end() const { return static_cast<int32_t>(tokens_.size()); }

 private:
  static uint64_t Hash(std::string_view token);

  std::vector<std::string> tokens_;  // [id]
  std::vector<bool> present_;        // [id]
  struct Slot {
    uint32_t tag = 0;
    int32_t id = -1;
  };
  std::vector<Slot> slots_;  // open addressing, linear probing, power of two
  size_t num_tokens_ = 0;
};

}  // namespace octavo
