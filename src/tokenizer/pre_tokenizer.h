// SPDX-License-Identifier: Apache-2.0
// The "pre_tokenizer" part of tokenizer.json: text to the pieces that the model encodes one by one.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

// A piece of text, a view into the caller's text or into PieceList::storage.
struct Piece {
  std::string_view text;
  bool at_start;  // begins at offset 0 of the whole text
};

// Pieces and the memory of those that were rewritten.
struct PieceList {
  std::vector<Piece> pieces;
  std::deque<std::string> storage;

  std::string_view Store(std::string text) { return storage.emplace_back(std::move(text)); }
};

// One step; replaces a piece by zero or more pieces (empty ones are never produced).
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual Status Split(const Piece& piece, PieceList* out) const = 0;
};

// The whole component. When its last step is ByteLevel, the mapping of bytes to characters is left
// to the model (maps_bytes()), which then sees the pieces' raw bytes: caching and merging work on
// fewer bytes.
class PreTokenizer {
 public:
  // null: the identity. An unsupported type is refused by name.
  static Result<std::unique_ptr<PreTokenizer>> Create(const Json* config);

  // Splits one section of text; appends to out->pieces.
  Status Split(std::string_view text, bool at_start, PieceList* out) const;

  bool maps_bytes() const { return maps_bytes_; }

 private:
  PreTokenizer() = default;
  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool maps_bytes_ = false;
};

}  // namespace octavo
