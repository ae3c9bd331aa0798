// SPDX-License-Identifier: Apache-2.0
// Viterbi over characters; candidates come from probing the vocabulary up to its longest token.
#include "tokenizer/unigram_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "tokenizer/byte_map.h"
#include "tokenizer/byte_trie.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr double kUnknownPenalty = 10;
constexpr size_t kMaxTokenBytes = 16 << 10;

class UnigramModel : public TokenModel {
 public:
  UnigramModel(Vocabulary vocabulary, std::vector<double> scores, std::optional<int32_t> unk_id,
               bool byte_fallback, bool maps_bytes)
      : TokenModel(std::move(vocabulary)),
        scores_(std::move(scores)),
        unk_id_(unk_id),
        byte_fallback_(byte_fallback),
        maps_bytes_(maps_bytes),
        byte_ids_(FindByteTokens(vocabulary_)) {
    for (int32_t id = 0; id < vocabulary_.id_end(); ++id) {
      const std::string* token = vocabulary_.TokenOf(id);
      if (token != nullptr && !token->empty()) trie_.Insert(*token, id);
    }
    const double lowest = scores_.empty() ? 0 : *std::min_element(scores_.begin(), scores_.end());
    unk_score_ = lowest - kUnknownPenalty;
  }

  Status Encode(std::string_view piece, std::vector<int32_t>* ids) const override {
    return maps_bytes_ ? EncodeText(MapBytes(piece), ids) : EncodeText(piece, ids);
  }

 private:
  struct Best {
    double score = 0;
    size_t begin = 0;
    int32_t id = -1;
    bool reached = false;
  };

  Status EncodeText(std::string_view text, std::vector<int32_t>* ids) const {
    std::vector<Best> best(text.size() + 1);
    for (size_t begin = 0; begin < text.size();) {
      const double base = best[begin].score;
      const size_t char_bytes = DecodeUtf8(text, begin).length;
      bool has_single = false;
      trie_.ForEachPrefix(text, begin, [&](size_t length, int32_t id) {
        const double score = base + scores_[static_cast<size_t>(id)];
        Relax(&best[begin + length], {score, begin, id, true});
        has_single = has_single || length == char_bytes;
      });
      if (!has_single) {
        Relax(&best[begin + char_bytes], {base + unk_score_, begin, -1, true});
      }
      begin += char_bytes;
    }
    return Emit(text, best, ids);
  }

  static void Relax(Best* target, const Best& candidate) {
    if (!target->reached || candidate.score > target->score) *target = candidate;
  }

  Status Emit(std::string_view text, const std::vector<Best>& best,
              std::vector<int32_t>* ids) const {
    struct Part {
      size_t begin;
      size_t end;
      int32_t id;
    };
    std::vector<Part> parts;  // from the end
    for (size_t end = text.size(); end > 0; end = best[end].begin) {
      const Best& b = best[end];
      const bool unknown = b.id < 0 || (unk_id_ && b.id == *unk_id_);
      const int32_t id = unknown ? -1 : b.id;
      if (id < 0 && !parts.empty() && parts.back().id < 0) {
        parts.back().begin = b.begin;
      } else {
        parts.push_back({b.begin, end, id});
      }
    }
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      if (part->id >= 0) {
        ids->push_back(part->id);
        continue;
      }
      OCTAVO_RETURN_IF_ERROR(EmitUnknown(text.substr(part->begin, part->end - part->begin), ids));
    }
    return Status::Ok();
  }

  Status EmitUnknown(std::string_view text, std::vector<int32_t>* ids) const {
    const auto byte_id = [this](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
    // Fused unknown text may itself be a token.
    if (const auto id = vocabulary_.Find(text)) {
      ids->push_back(*id);
    } else if (byte_fallback_ &&
               std::all_of(text.begin(), text.end(), [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : text) ids->push_back(byte_id(c));
    } else if (unk_id_) {
      ids->push_back(*unk_id_);
    } else {
      return DataLoss("Unigram: text needs an unknown token, but 'unk_id' is null");
    }
    return Status::Ok();
  }

  std::vector<double> scores_;  // [id]
  std::optional<int32_t> unk_id_;
  bool byte_fallback_;
  bool maps_bytes_;
  std::vector<int32_t> byte_ids_;
  ByteTrie trie_;
  double unk_score_ = 0;
};

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeUnigramModel(const Json& config, TokenizerSpec* spec,
                                                     bool maps_bytes) {
  const auto count = static_cast<int64_t>(spec->vocab.size());
  std::optional<int32_t> unk_id;
  if (Find(config, "unk_id") != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(const int64_t id, GetInt(config, "unk_id", 0, count - 1));
    unk_id = static_cast<int32_t>(id);
  }
  OCTAVO_ASSIGN_OR_RETURN(const bool byte_fallback, GetBoolOr(config, "byte_fallback", false));
  std::vector<double> scores;
  for (const VocabEntry& entry : spec->vocab) {
    if (entry.token.size() > kMaxTokenBytes) {
      return DataLoss(fmt::format("Unigram: token {} of {} bytes, limit {}", entry.id,
                                  entry.token.size(), kMaxTokenBytes));
    }
    if (entry.id != static_cast<int32_t>(scores.size())) {
      return DataLoss("Unigram: 'vocab' is no list of [token, score]");
    }
    scores.push_back(entry.score);
  }
  OCTAVO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(std::move(spec->vocab)));
  return std::unique_ptr<TokenModel>(std::make_unique<UnigramModel>(
      std::move(vocabulary), std::move(scores), unk_id, byte_fallback, maps_bytes));
}

}  // namespace octavo
