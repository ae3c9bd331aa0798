// SPDX-License-Identifier: Apache-2.0
// Flat hash table from token to id.
#include "tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>

namespace octavo {
namespace {

// Real vocabularies are dense; this leaves room for padded ones and bounds hostile ones.
constexpr size_t kIdSlack = size_t{1} << 20;

}  // namespace

uint64_t Vocabulary::Hash(std::string_view token) { return std::hash<std::string_view>{}(token); }

Result<Vocabulary> Vocabulary::Create(std::vector<VocabEntry> entries) {
  Vocabulary vocabulary;
  int32_t max_id = -1;
  for (const VocabEntry& entry : entries) {
    if (entry.id < 0) {
      return DataLoss(fmt::format("vocab: token '{}' has no valid id", entry.token.substr(0, 100)));
    }
    max_id = std::max(max_id, entry.id);
  }
  if (static_cast<size_t>(max_id) + 1 > 4 * entries.size() + kIdSlack) {
    return DataLoss(fmt::format("vocab: largest id {} with {} tokens", max_id, entries.size()));
  }
  const auto id_end = static_cast<size_t>(max_id + 1);
  vocabulary.tokens_.resize(id_end);
  vocabulary.present_.resize(id_end);
  vocabulary.slots_.resize(std::bit_ceil(entries.size() * 2 + 16));
  const size_t mask = vocabulary.slots_.size() - 1;
  for (VocabEntry& entry : entries) {
    const auto id = static_cast<size_t>(entry.id);
    if (vocabulary.present_[id]) {
      return DataLoss(fmt::format("vocab: id {} belongs to two tokens", entry.id));
    }
    vocabulary.tokens_[id] = std::move(entry.token);
    vocabulary.present_[id] = true;
    const std::string& token = vocabulary.tokens_[id];
    const uint64_t hash = Hash(token);
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t at = hash & mask;
    while (vocabulary.slots_[at].id >= 0 &&
           (vocabulary.slots_[at].tag != tag ||
            vocabulary.tokens_[static_cast<size_t>(vocabulary.slots_[at].id)] != token)) {
      at = (at + 1) & mask;
    }
    vocabulary.num_tokens_ += vocabulary.slots_[at].id < 0;
    vocabulary.slots_[at] = {tag, entry.id};
  }
  return vocabulary;
}

std::optional<int32_t> Vocabulary::Find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const size_t mask = slots_.size() - 1;
  const uint64_t hash = Hash(token);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t at = hash & mask; slots_[at].id >= 0; at = (at + 1) & mask) {
    if (slots_[at].tag == tag && tokens_[static_cast<size_t>(slots_[at].id)] == token) {
      return slots_[at].id;
    }
  }
  return std::nullopt;
}

const std::string* Vocabulary::TokenOf(int32_t id) const {
  if (id < 0 || id >= id_end() || !present_[static_cast<size_t>(id)]) return nullptr;
  return &tokens_[static_cast<size_t>(id)];
}

}  // namespace octavo
