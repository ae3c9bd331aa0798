// SPDX-License-Identifier: Apache-2.0
// The "model" part of tokenizer.json: one piece of text to token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "octavo/status.h"
#include "tokenizer/tokenizer_spec.h"
#include "tokenizer/vocabulary.h"

namespace octavo {

class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the ids of one pre-tokenized piece. Thread-safe.
  virtual Status Encode(std::string_view piece, std::vector<int32_t>* ids) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  Vocabulary vocabulary_;
};

// Builds BPE, Unigram or WordPiece from spec.config["model"]; takes vocab and merges out of `spec`.
// `maps_bytes`: pieces arrive as raw bytes and stand for their byte-level characters.
Result<std::unique_ptr<TokenModel>> MakeTokenModel(TokenizerSpec* spec, bool maps_bytes);

// The ids of "<0x00>" to "<0xFF>" as far as they exist, else -1.
std::vector<int32_t> FindByteTokens(const Vocabulary& vocabulary);

}  // namespace octavo
