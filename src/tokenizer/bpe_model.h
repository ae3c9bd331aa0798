// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding with ranked merges (Sennrich et al., arXiv:1508.07909), as the tokenizers
// library runs it: byte-level (GPT-2) and SentencePiece-style with byte fallback.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/token_model.h"
#include "tokenizer/word_cache.h"

namespace octavo {

// From a pair of ids to the rank and the id of their merge; a flat hash table.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  explicit MergeTable(size_t capacity);
  // A repeated pair takes the later rank.
  void Insert(int32_t left, int32_t right, Merge merge);
  const Merge* Find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key = ~uint64_t{0};
    Merge merge{};
  };
  size_t SlotOf(uint64_t key) const;
  std::vector<Slot> slots_;
  int shift_;
};

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
  bool maps_bytes = false;  // pieces are raw bytes that stand for byte-level characters
  // No merge joins another character with a "▁" behind it: text can be cut before each first "▁"
  // without changing the result, which makes words short enough for the cache.
  bool splits_at_marks = false;
};

class BpeModel : public TokenModel {
 public:
  BpeModel(Vocabulary vocabulary, MergeTable merges, BpeOptions options);

  // O(n log n) in the piece's length.
  Status Encode(std::string_view piece, std::vector<int32_t>* ids) const override;

 private:
  Status EncodeWord(std::string_view word, std::vector<int32_t>* ids) const;
  Status AppendSymbols(std::string_view piece, std::vector<int32_t>* symbols) const;
  Status AppendMappedBytes(std::string_view piece, std::vector<int32_t>* symbols) const;
  void MergeShort(std::vector<int32_t>* symbols) const;
  void MergeLong(std::vector<int32_t>* symbols) const;

  MergeTable merges_;
  BpeOptions options_;
  std::optional<int32_t> unk_id_;
  std::vector<int32_t> fallback_ids_;        // "<0xHH>" by byte, or -1
  std::array<int32_t, 256> byte_level_ids_;  // the byte's mapped character, or -1
  WordCache cache_;
};

Result<std::unique_ptr<TokenModel>> MakeBpeModel(const Json& config, TokenizerSpec* spec,
                                                 bool maps_bytes);

}  // namespace octavo
