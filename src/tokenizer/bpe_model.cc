// SPDX-License-Identifier: Apache-2.0
// BPE merging: a scan for short words, a heap over a linked list for long ones.
#include "tokenizer/bpe_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <queue>

#include "tokenizer/byte_map.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

// Below this many symbols the quadratic scan is faster than a heap.
constexpr size_t kShortWord = 24;

uint64_t PairKey(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// The first "▁" that does not follow another one or begin the text, or the text's end.
size_t NextWordStart(std::string_view text) {
  size_t at = 0;
  while (text.substr(at).starts_with(kSpaceMark)) at += kSpaceMark.size();
  return std::min(text.find(kSpaceMark, at), text.size());
}

// Collects unknown symbols so that neighbours can be fused into one.
class UnknownRun {
 public:
  UnknownRun(std::optional<int32_t> unk_id, bool fuse, std::vector<int32_t>* symbols)
      : unk_id_(unk_id), fuse_(fuse), symbols_(symbols) {}
  void Add() {
    if (pending_ && !fuse_) symbols_->push_back(*unk_id_);
    pending_ = true;
  }
  void Flush() {
    if (pending_) symbols_->push_back(*unk_id_);
    pending_ = false;
  }

 private:
  std::optional<int32_t> unk_id_;
  bool fuse_;
  std::vector<int32_t>* symbols_;
  bool pending_ = false;
};

}  // namespace

MergeTable::MergeTable(size_t capacity)
    : slots_(std::bit_ceil(capacity * 2 + 16)), shift_(64 - std::countr_zero(slots_.size())) {}

size_t MergeTable::SlotOf(uint64_t key) const {
  return static_cast<size_t>((key * 0x9E3779B97F4A7C15ull) >> shift_);
}

void MergeTable::Insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = PairKey(left, right);
  size_t at = SlotOf(key);
  while (slots_[at].key != key && slots_[at].key != ~uint64_t{0})
    at = (at + 1) & (slots_.size() - 1);
  slots_[at] = {key, merge};
}

const MergeTable::Merge* MergeTable::Find(int32_t left, int32_t right) const {
  const uint64_t key = PairKey(left, right);
  for (size_t at = SlotOf(key); slots_[at].key != ~uint64_t{0};
       at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].key == key) return &slots_[at].merge;
  }
  return nullptr;
}

BpeModel::BpeModel(Vocabulary vocabulary, MergeTable merges, BpeOptions options)
    : TokenModel(std::move(vocabulary)),
      merges_(std::move(merges)),
      options_(std::move(options)),
      fallback_ids_(FindByteTokens(vocabulary_)) {
  if (options_.unk_token) unk_id_ = vocabulary_.Find(*options_.unk_token);
  for (size_t byte = 0; byte < 256; ++byte) {
    std::string mapped;
    AppendUtf8(ByteToChar(static_cast<uint8_t>(byte)), &mapped);
    byte_level_ids_[byte] = vocabulary_.Find(mapped).value_or(-1);
  }
}

Status BpeModel::Encode(std::string_view piece, std::vector<int32_t>* ids) const {
  while (options_.splits_at_marks && !piece.empty()) {
    const size_t cut = NextWordStart(piece);
    OCTAVO_RETURN_IF_ERROR(EncodeWord(piece.substr(0, cut), ids));
    piece.remove_prefix(cut);
  }
  return piece.empty() ? Status::Ok() : EncodeWord(piece, ids);
}

Status BpeModel::EncodeWord(std::string_view piece, std::vector<int32_t>* ids) const {
  if (cache_.Lookup(piece, ids)) return Status::Ok();
  const size_t first = ids->size();
  if (options_.ignore_merges) {
    const auto whole =
        options_.maps_bytes ? vocabulary_.Find(MapBytes(piece)) : vocabulary_.Find(piece);
    if (whole) {
      ids->push_back(*whole);
      cache_.Insert(piece, ids->data() + first, 1);
      return Status::Ok();
    }
  }
  std::vector<int32_t> symbols;
  symbols.reserve(piece.size());
  const bool affixed =
      !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  if (options_.maps_bytes && affixed) {
    OCTAVO_RETURN_IF_ERROR(AppendSymbols(MapBytes(piece), &symbols));
  } else if (options_.maps_bytes) {
    OCTAVO_RETURN_IF_ERROR(AppendMappedBytes(piece, &symbols));
  } else {
    OCTAVO_RETURN_IF_ERROR(AppendSymbols(piece, &symbols));
  }
  symbols.size() <= kShortWord ? MergeShort(&symbols) : MergeLong(&symbols);
  ids->insert(ids->end(), symbols.begin(), symbols.end());
  cache_.Insert(piece, ids->data() + first, ids->size() - first);
  return Status::Ok();
}

Status BpeModel::AppendMappedBytes(std::string_view piece, std::vector<int32_t>* symbols) const {
  for (const char byte : piece) {
    const int32_t id = byte_level_ids_[static_cast<uint8_t>(byte)];
    // A vocabulary without all 256 bytes is rare: take the general way.
    if (id < 0) {
      symbols->clear();
      return AppendSymbols(MapBytes(piece), symbols);
    }
    symbols->push_back(id);
  }
  return Status::Ok();
}

Status BpeModel::AppendSymbols(std::string_view piece, std::vector<int32_t>* symbols) const {
  UnknownRun unknown(unk_id_, options_.fuse_unk, symbols);
  std::string affixed;
  for (size_t i = 0; i < piece.size();) {
    const size_t length = DecodeUtf8(piece, i).length;
    std::string_view symbol = piece.substr(i, length);
    const bool prefixed = i > 0 && !options_.continuing_subword_prefix.empty();
    const bool suffixed = i + length == piece.size() && !options_.end_of_word_suffix.empty();
    i += length;
    if (prefixed || suffixed) {
      affixed = prefixed ? options_.continuing_subword_prefix : std::string();
      affixed += symbol;
      if (suffixed) affixed += options_.end_of_word_suffix;
      symbol = affixed;
    }
    if (const auto id = vocabulary_.Find(symbol)) {
      unknown.Flush();
      symbols->push_back(*id);
      continue;
    }
    const auto byte_id = [this](char c) { return fallback_ids_[static_cast<uint8_t>(c)]; };
    // A pending unknown stays pending across fallback bytes, as in the reference implementation.
    if (options_.byte_fallback &&
        std::all_of(symbol.begin(), symbol.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : symbol) symbols->push_back(byte_id(c));
      continue;
    }
    if (!options_.unk_token) continue;
    if (!unk_id_) {
      return DataLoss(fmt::format("unk_token '{}' is not in the vocabulary", *options_.unk_token));
    }
    unknown.Add();
  }
  unknown.Flush();
  return Status::Ok();
}

void BpeModel::MergeShort(std::vector<int32_t>* symbols) const {
  constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  uint32_t rank[kShortWord];
  int32_t merged[kShortWord];
  size_t count = symbols->size();
  int32_t* s = symbols->data();
  const auto look_up = [&](size_t i) {
    const auto* merge = merges_.Find(s[i], s[i + 1]);
    rank[i] = merge != nullptr ? merge->rank : kNone;
    merged[i] = merge != nullptr ? merge->id : 0;
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    const size_t best = static_cast<size_t>(std::min_element(rank, rank + count - 1) - rank);
    if (rank[best] == kNone) break;
    s[best] = merged[best];
    for (size_t i = best + 1; i + 1 < count; ++i) {
      s[i] = s[i + 1];
      rank[i] = i + 2 < count ? rank[i + 1] : kNone;
      merged[i] = merged[i + 1 < kShortWord ? i + 1 : i];
    }
    --count;
    if (best + 1 < count) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  symbols->resize(count);
}

void BpeModel::MergeLong(std::vector<int32_t>* symbols) const {
  struct Node {
    int32_t id;  // -1: merged into its left neighbour
    int64_t previous;
    int64_t next;
  };
  struct Candidate {
    uint32_t rank;
    int64_t position;
    int32_t left;
    int32_t right;
    int32_t id;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const auto count = static_cast<int64_t>(symbols->size());
  std::vector<Node> nodes(symbols->size());
  for (int64_t i = 0; i < count; ++i) {
    nodes[i] = {(*symbols)[i], i - 1, i + 1 < count ? i + 1 : -1};
  }
  std::vector<Candidate> initial;
  const auto candidate = [&](int64_t position) -> std::optional<Candidate> {
    if (position < 0 || nodes[position].next < 0) return std::nullopt;
    const int32_t left = nodes[position].id;
    const int32_t right = nodes[nodes[position].next].id;
    const auto* merge = merges_.Find(left, right);
    if (merge == nullptr) return std::nullopt;
    return Candidate{merge->rank, position, left, right, merge->id};
  };
  for (int64_t i = 0; i + 1 < count; ++i) {
    if (const auto c = candidate(i)) initial.push_back(*c);
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>{},
                                                                               std::move(initial));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Node& node = nodes[top.position];
    const bool current = node.id == top.left && node.next >= 0 && nodes[node.next].id == top.right;
    if (!current) continue;
    Node& gone = nodes[node.next];
    node.id = top.id;
    node.next = gone.next;
    if (gone.next >= 0) nodes[gone.next].previous = top.position;
    gone.id = -1;
    for (const int64_t at : {node.previous, top.position}) {
      if (const auto c = candidate(at)) queue.push(*c);
    }
  }
  size_t kept = 0;
  for (int64_t i = 0; i >= 0; i = nodes[i].next) (*symbols)[kept++] = nodes[i].id;
  symbols->resize(kept);
}

Result<std::unique_ptr<TokenModel>> MakeBpeModel(const Json& config, TokenizerSpec* spec,
                                                 bool maps_bytes) {
  OCTAVO_ASSIGN_OR_RETURN(const double dropout, GetDoubleOr(config, "dropout", 0));
  if (dropout != 0)
    return Unimplemented("BPE with dropout is not supported: it is not reproducible");
  BpeOptions options;
  options.maps_bytes = maps_bytes;
  if (Find(config, "unk_token") != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(options.unk_token, GetString(config, "unk_token"));
  }
  OCTAVO_ASSIGN_OR_RETURN(options.continuing_subword_prefix,
                          GetStringOr(config, "continuing_subword_prefix", ""));
  OCTAVO_ASSIGN_OR_RETURN(options.end_of_word_suffix,
                          GetStringOr(config, "end_of_word_suffix", ""));
  OCTAVO_ASSIGN_OR_RETURN(options.fuse_unk, GetBoolOr(config, "fuse_unk", false));
  OCTAVO_ASSIGN_OR_RETURN(options.byte_fallback, GetBoolOr(config, "byte_fallback", false));
  OCTAVO_ASSIGN_OR_RETURN(options.ignore_merges, GetBoolOr(config, "ignore_merges", false));
  OCTAVO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(std::move(spec->vocab)));

  options.splits_at_marks =
      !maps_bytes && !options.ignore_merges && options.continuing_subword_prefix.empty() &&
      options.end_of_word_suffix.empty() && vocabulary.Find(kSpaceMark).has_value();
  MergeTable merges(spec->merges.size());
  std::string product;
  for (size_t rank = 0; rank < spec->merges.size(); ++rank) {
    const auto& [left, right] = spec->merges[rank];
    std::string_view tail = right;
    if (tail.starts_with(options.continuing_subword_prefix)) {
      tail.remove_prefix(options.continuing_subword_prefix.size());
    }
    product.assign(left).append(tail);
    const auto left_id = vocabulary.Find(left);
    const auto right_id = vocabulary.Find(right);
    const auto id = vocabulary.Find(product);
    if (!left_id || !right_id || !id) {
      return DataLoss(fmt::format("merge {} ('{}' + '{}'): a part or the product is not in vocab",
                                  rank, left.substr(0, 100), right.substr(0, 100)));
    }
    merges.Insert(*left_id, *right_id, {static_cast<uint32_t>(rank), *id});
    options.splits_at_marks = options.splits_at_marks && NextWordStart(product) == product.size();
  }
  return std::unique_ptr<TokenModel>(
      std::make_unique<BpeModel>(std::move(vocabulary), std::move(merges), std::move(options)));
}

}  // namespace octavo
