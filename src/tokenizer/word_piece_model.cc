// SPDX-License-Identifier: Apache-2.0
// Greedy longest-match segmentation; a word that cannot be covered becomes one unknown token.
#include "tokenizer/word_piece_model.h"

#include <fmt/format.h>

#include <optional>

#include "tokenizer/byte_map.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr int64_t kMaxWordChars = 10'000;  // bounds the quadratic search

class WordPieceModel : public TokenModel {
 public:
  WordPieceModel(Vocabulary vocabulary, int32_t unk_id, std::string prefix, size_t max_chars,
                 bool maps_bytes)
      : TokenModel(std::move(vocabulary)),
        unk_id_(unk_id),
        prefix_(std::move(prefix)),
        max_chars_(max_chars),
        maps_bytes_(maps_bytes) {}

  Status Encode(std::string_view piece, std::vector<int32_t>* ids) const override {
    const std::string mapped = maps_bytes_ ? MapBytes(piece) : std::string();
    if (maps_bytes_) piece = mapped;
    const size_t first = ids->size();
    if (CountUtf8(piece) > max_chars_ || !Cover(piece, ids)) {
      ids->resize(first);
      ids->push_back(unk_id_);
    }
    return Status::Ok();
  }

 private:
  bool Cover(std::string_view piece, std::vector<int32_t>* ids) const {
    for (size_t begin = 0; begin < piece.size();) {
      size_t end = piece.size();
      std::optional<int32_t> id;
      while (end > begin) {
        std::string candidate = begin > 0 ? prefix_ : std::string();
        candidate += piece.substr(begin, end - begin);
        id = vocabulary_.Find(candidate);
        if (id) break;
        end -= DecodeUtf8Before(piece, end).length;
      }
      if (!id) return false;
      ids->push_back(*id);
      begin = end;
    }
    return true;
  }

  int32_t unk_id_;
  std::string prefix_;
  size_t max_chars_;
  bool maps_bytes_;
};

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeWordPieceModel(const Json& config, TokenizerSpec* spec,
                                                       bool maps_bytes) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string unk, GetStringOr(config, "unk_token", "[UNK]"));
  OCTAVO_ASSIGN_OR_RETURN(std::string prefix,
                          GetStringOr(config, "continuing_subword_prefix", "##"));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t max_chars,
                          GetIntOr(config, "max_input_chars_per_word", 100, 0, kMaxWordChars));
  OCTAVO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(std::move(spec->vocab)));
  const auto unk_id = vocabulary.Find(unk);
  if (!unk_id) return DataLoss(fmt::format("WordPiece: unk_token '{}' is not in vocab", unk));
  return std::unique_ptr<TokenModel>(
      std::make_unique<WordPieceModel>(std::move(vocabulary), *unk_id, std::move(prefix),
                                       static_cast<size_t>(max_chars), maps_bytes));
}

}  // namespace octavo
