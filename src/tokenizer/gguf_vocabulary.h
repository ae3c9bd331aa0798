// SPDX-License-Identifier: Apache-2.0
// The tokenizer part of a GGUF file's metadata, as plain data: the reader of the file fills it in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace octavo {

// Field names follow the keys "tokenizer.ggml.*"; absent keys stay empty.
struct GgufVocabulary {
  std::string model;                 // "gpt2": byte-level BPE; "llama": SentencePiece with scores
  std::string pre;                   // family of the pre-tokenizer: "llama-bpe", "qwen2", ...
  std::vector<std::string> tokens;   // [id]
  std::vector<float> scores;         // [id], "llama" only
  std::vector<int32_t> token_types;  // [id], see GgufTokenType
  std::vector<std::string> merges;   // "a b"
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> eos_token_id;
  std::optional<int64_t> eot_token_id;
  std::optional<int64_t> unknown_token_id;
  std::optional<int64_t> padding_token_id;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_space_prefix;
  std::string chat_template;  // tokenizer.chat_template
};

enum class GgufTokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

}  // namespace octavo
