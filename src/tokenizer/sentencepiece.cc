// SPDX-License-Identifier: Apache-2.0
// A bounded protobuf reader for SentencePiece models and their conversion.
#include "tokenizer/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "tokenizer/precompiled_charsmap.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
// Longer pieces do not occur; deriving merges is quadratic in a piece's length.
constexpr size_t kMaxPieceBytes = 1024;
constexpr size_t kMaxPieces = size_t{1} << 22;

// One field of a protobuf message.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;      // varint and fixed types
  std::string_view bytes;  // length-delimited
};

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : bytes_(bytes) {}
  bool done() const { return position_ == bytes_.size(); }

  Result<Field> Next() {
    OCTAVO_ASSIGN_OR_RETURN(const uint64_t tag, Varint());
    Field field;
    field.number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0: {
        OCTAVO_ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case 1:
        return Fixed(field, 8);
      case 5:
        return Fixed(field, 4);
      case 2: {
        OCTAVO_ASSIGN_OR_RETURN(const uint64_t length, Varint());
        if (length > bytes_.size() - position_) return Truncated();
        field.bytes = bytes_.substr(position_, length);
        position_ += length;
        return field;
      }
      default:
        return DataLoss(fmt::format("protobuf wire type {} at byte {}", tag & 7, position_));
    }
  }

 private:
  Status Truncated() const {
    return DataLoss(fmt::format("protobuf ends early at byte {}", position_));
  }
  Result<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (done()) return Truncated();
      const auto byte = static_cast<uint8_t>(bytes_[position_++]);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return DataLoss(fmt::format("protobuf varint too long at byte {}", position_));
  }
  Result<Field> Fixed(Field field, size_t size) {
    if (size > bytes_.size() - position_) return Truncated();
    std::memcpy(&field.value, bytes_.data() + position_, size);  // little endian
    position_ += size;
    return field;
  }

  std::string_view bytes_;
  size_t position_ = 0;
};

// Calls handle(field) for each field of a message.
template <typename F>
Status ForEachField(std::string_view message, F&& handle) {
  ProtoReader reader(message);
  while (!reader.done()) {
    OCTAVO_ASSIGN_OR_RETURN(const Field field, reader.Next());
    OCTAVO_RETURN_IF_ERROR(handle(field));
  }
  return Status::Ok();
}

Status ParsePiece(std::string_view message, SentencePieceModel::Piece* piece) {
  return ForEachField(message, [&](const Field& field) {
    if (field.number == 1) piece->text = ReplaceInvalidUtf8(field.bytes);
    if (field.number == 2) piece->score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) {
      if (field.value < 1 || field.value > 6) {
        return DataLoss(fmt::format("piece type {}, want 1 to 6", field.value));
      }
      piece->type = static_cast<SentencePieceModel::PieceType>(field.value);
    }
    return Status::Ok();
  });
}

Status ParseTrainerSpec(std::string_view message, SentencePieceModel* model) {
  return ForEachField(message, [&](const Field& field) {
    if (field.number == 3) {
      if (field.value != 1 && field.value != 2) {
        return Unimplemented(
            fmt::format("SentencePiece model type {} is not supported, want unigram (1) or BPE (2)",
                        field.value));
      }
      model->algorithm = static_cast<SentencePieceModel::Algorithm>(field.value);
    }
    if (field.number == 35) model->byte_fallback = field.value != 0;
    if (field.number == 40) model->unk_id = static_cast<int32_t>(field.value);
    if (field.number == 41) model->bos_id = static_cast<int32_t>(field.value);
    if (field.number == 42) model->eos_id = static_cast<int32_t>(field.value);
    return Status::Ok();
  });
}

Status ParseNormalizerSpec(std::string_view message, SentencePieceModel* model) {
  return ForEachField(message, [&](const Field& field) {
    if (field.number == 2) model->precompiled_charsmap = std::string(field.bytes);
    if (field.number == 3) model->add_dummy_prefix = field.value != 0;
    if (field.number == 4) model->remove_extra_whitespaces = field.value != 0;
    return Status::Ok();
  });
}

using PieceIds = std::unordered_map<std::string_view, int32_t>;

// Every split of every piece into two pieces is a merge; the better the product's score, the
// earlier. Order of equals: longer left part first, then longer right part, then by the parts' ids.
std::vector<std::pair<std::string, std::string>> DeriveMerges(const SentencePieceModel& model,
                                                              const PieceIds& ids) {
  struct Merge {
    float score;
    size_t left_chars;
    size_t right_chars;
    std::string_view left;
    std::string_view right;
  };
  std::vector<Merge> merges;
  for (const auto& piece : model.pieces) {
    const std::string_view text = piece.text;
    std::vector<std::tuple<int32_t, int32_t, Merge>> local;
    size_t left_chars = 0;
    for (size_t cut = DecodeUtf8(text, 0).length; cut < text.size();
         cut += DecodeUtf8(text, cut).length) {
      ++left_chars;
      const auto left = ids.find(text.substr(0, cut));
      const auto right = ids.find(text.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      local.emplace_back(
          left->second, right->second,
          Merge{piece.score, left_chars, CountUtf8(right->first), left->first, right->first});
    }
    std::stable_sort(local.begin(), local.end(), [](const auto& a, const auto& b) {
      return std::tie(std::get<0>(a), std::get<1>(a)) < std::tie(std::get<0>(b), std::get<1>(b));
    });
    for (const auto& entry : local) merges.push_back(std::get<2>(entry));
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tie(a.score, a.left_chars, a.right_chars) >
           std::tie(b.score, b.left_chars, b.right_chars);
  });
  std::vector<std::pair<std::string, std::string>> result;
  result.reserve(merges.size());
  for (const Merge& merge : merges) result.emplace_back(merge.left, merge.right);
  return result;
}

Json Replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"},
          {"pattern", {{"String", std::string(from)}}},
          {"content", std::string(to)}};
}

Json NormalizerOf(const SentencePieceModel& model) {
  Json steps = Json::array();
  if (!model.precompiled_charsmap.empty()) {
    steps.push_back({{"type", "Precompiled"},
                     {"precompiled_charsmap", EncodeBase64(model.precompiled_charsmap)}});
  }
  if (model.remove_extra_whitespaces) {
    steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
  }
  if (model.add_dummy_prefix) {
    steps.push_back({{"type", "Prepend"}, {"prepend", std::string(kSpaceMark)}});
  }
  steps.push_back(Replace(" ", kSpaceMark));
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json DecoderOf(const SentencePieceModel& model) {
  Json steps =
      Json::array({Replace(kSpaceMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (model.add_dummy_prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

Json AddedTokensOf(const SentencePieceModel& model) {
  using PieceType = SentencePieceModel::PieceType;
  Json list = Json::array();
  for (const auto& piece : model.pieces) {
    const bool special = piece.type == PieceType::kControl || piece.type == PieceType::kUnknown;
    if (!special && piece.type != PieceType::kUserDefined) continue;
    list.push_back({{"content", piece.text}, {"special", special}, {"normalized", false}});
  }
  return list;
}

}  // namespace

Result<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes) {
  SentencePieceModel model;
  model.algorithm = SentencePieceModel::Algorithm::kUnigram;  // the proto's default
  model.remove_extra_whitespaces = true;                      // likewise
  OCTAVO_RETURN_IF_ERROR(ForEachField(bytes, [&](const Field& field) {
    if (field.number == 1) {
      if (model.pieces.size() >= kMaxPieces) return ResourceExhausted("too many pieces");
      return ParsePiece(field.bytes, &model.pieces.emplace_back())
          .WithContext(fmt::format("piece {}", model.pieces.size() - 1));
    }
    if (field.number == 2) return ParseTrainerSpec(field.bytes, &model);
    if (field.number == 3) return ParseNormalizerSpec(field.bytes, &model);
    return Status::Ok();
  }));
  if (model.pieces.empty()) return DataLoss("no SentencePiece pieces");
  return model;
}

Result<TokenizerSpec> MakeSentencePieceSpec(SentencePieceModel model) {
  const auto count = static_cast<int32_t>(model.pieces.size());
  if (model.unk_id < 0 || model.unk_id >= count) {
    return DataLoss(fmt::format("unknown-token id {}, want 0 to {}", model.unk_id, count - 1));
  }
  PieceIds ids;
  for (int32_t id = 0; id < count; ++id) {
    const auto& piece = model.pieces[static_cast<size_t>(id)];
    if (piece.text.empty() || piece.text.size() > kMaxPieceBytes) {
      return DataLoss(
          fmt::format("piece {} of {} bytes, want 1 to {}", id, piece.text.size(), kMaxPieceBytes));
    }
    ids[piece.text] = id;
  }
  TokenizerSpec spec;
  const bool bpe = model.algorithm == SentencePieceModel::Algorithm::kBpe;
  if (bpe) spec.merges = DeriveMerges(model, ids);
  spec.config = {{"version", "1.0"},
                 {"added_tokens", AddedTokensOf(model)},
                 {"normalizer", NormalizerOf(model)},
                 {"decoder", DecoderOf(model)}};
  Json& config = spec.config["model"];
  config = {{"type", bpe ? "BPE" : "Unigram"}, {"byte_fallback", model.byte_fallback}};
  if (bpe) {
    config["unk_token"] = model.pieces[static_cast<size_t>(model.unk_id)].text;
    config["fuse_unk"] = true;
  } else {
    config["unk_id"] = model.unk_id;
  }
  for (int32_t id = 0; id < count; ++id) {
    auto& piece = model.pieces[static_cast<size_t>(id)];
    spec.vocab.push_back({std::move(piece.text), id, piece.score});
  }
  return spec;
}

Json MakeBosEosPostProcessor(std::optional<int64_t> bos_id, std::optional<int64_t> eos_id) {
  Json single = Json::array();
  Json tokens = Json::object();
  const auto add = [&](const char* name, std::optional<int64_t> id) {
    if (!id) return;
    single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    tokens[name] = {{"id", name}, {"ids", Json::array({static_cast<uint64_t>(*id)})}};
  };
  add("bos", bos_id);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add("eos", eos_id);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
}

Result<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(SentencePieceModel model,
                                                              bool add_bos, bool add_eos) {
  const auto wanted = [&](bool add, int32_t id) {
    const bool exists = id >= 0 && static_cast<size_t>(id) < model.pieces.size();
    return add && exists ? std::optional<int64_t>(id) : std::nullopt;
  };
  const Json post =
      MakeBosEosPostProcessor(wanted(add_bos, model.bos_id), wanted(add_eos, model.eos_id));
  OCTAVO_ASSIGN_OR_RETURN(TokenizerSpec spec, MakeSentencePieceSpec(std::move(model)));
  spec.config["post_processor"] = post;
  return Tokenizer::FromSpec(std::move(spec));
}

}  // namespace octavo
