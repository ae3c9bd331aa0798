// SPDX-License-Identifier: Apache-2.0
// SentencePiece models: the parts of a .model file and the tokenizer they stand for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_spec.h"

namespace octavo {

// The fields of sentencepiece_model.proto that matter for encoding.
struct SentencePieceModel {
  enum class PieceType : int32_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
  };
  enum class Algorithm { kUnigram = 1, kBpe = 2 };
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  std::vector<Piece> pieces;  // [id]
  Algorithm algorithm = Algorithm::kBpe;
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = false;
  int32_t unk_id = 0;
  int32_t bos_id = 1;
  int32_t eos_id = 2;
  std::string precompiled_charsmap;
};

// Reads a .model file (protobuf). Every length is checked against the file.
Result<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes);

// The tokenizer.json that transformers' converter makes of the model: merges derived from the
// scores, "▁" for spaces, byte fallback. No post-processor: the caller knows whether BOS is added.
Result<TokenizerSpec> MakeSentencePieceSpec(SentencePieceModel model);

// The tokenizer of a .model file; `add_bos`, `add_eos` as in tokenizer_config.json.
Result<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(SentencePieceModel model,
                                                              bool add_bos, bool add_eos);

// A TemplateProcessing that puts the given ids before and after a text.
Json MakeBosEosPostProcessor(std::optional<int64_t> bos_id, std::optional<int64_t> eos_id);

}  // namespace octavo
