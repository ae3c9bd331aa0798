// SPDX-License-Identifier: Apache-2.0
// Reads a GGUF file, versions 2 and 3, little endian: metadata and tensor directory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/ggml_blocks.h"
#include "io/gguf_metadata.h"
#include "io/mmap_file.h"
#include "octavo/status.h"
#include "tensor/shape.h"

namespace octavo {

struct GgufTensor {
  std::string name;  // GGUF name, e.g. "blk.0.attn_q.weight".
  Shape shape;       // Outermost first: the reverse of the order in the file.
  GgmlType type = GgmlType::kF32;
  uint64_t offset = 0;  // In the file.
  uint64_t bytes = 0;
};

// Every count, length and offset is checked against the file's size before anything is allocated
// for it, so memory stays proportional to the file's metadata. Const members are safe from any
// thread.
class GgufReader {
 public:
  // Errors name the file, the key or tensor and the byte: DataLoss for a violated format,
  // Unimplemented for a tensor type, a version, an endianness or a split file that is not
  // supported.
  static Result<std::unique_ptr<GgufReader>> Open(const std::string& path);
  static Result<std::unique_ptr<GgufReader>> FromFile(MmapFile file);

  const MmapFile& file() const { return file_; }
  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  // general.architecture.
  const std::string& architecture() const { return architecture_; }
  const GgufMetadata& metadata() const { return metadata_; }
  // By file offset.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  // nullptr when there is no such tensor.
  const GgufTensor* Find(std::string_view name) const;

 private:
  class Parser;
  GgufReader() = default;

  MmapFile file_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::string architecture_;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;  // Keys live in tensors_.
};

// What a tokenizer needs from GGUF metadata, as plain values. Ids are -1 when absent.
struct GgufTokenizerFields {
  std::string model;  // "gpt2" (byte-level BPE), "llama" (SentencePiece), ...
  std::string pre;    // Family of the pre-tokenizer's regex: "qwen2", "smollm", "llama-bpe", ...
  std::vector<std::string> tokens;
  std::vector<float> scores;         // Per token, or empty.
  std::vector<int64_t> token_types;  // Per token, or empty: 1 normal, 2 unknown, 3 control, 4 user
                                     // defined, 5 unused, 6 byte.
  std::vector<std::string> merges;   // "a b".
  int64_t bos_token_id = -1;
  int64_t eos_token_id = -1;
  int64_t eot_token_id = -1;
  int64_t eom_token_id = -1;
  int64_t unknown_token_id = -1;
  int64_t padding_token_id = -1;
  bool add_bos_token = false;
  bool add_eos_token = false;
  bool add_space_prefix = true;
  // Whether the file itself has the three keys above; llama.cpp's defaults depend on the model.
  bool has_add_bos_token = false;
  bool has_add_eos_token = false;
  bool has_add_space_prefix = false;
  std::string chat_template;  // Empty when absent.
};

// Errors: InvalidArgument for wrong types, for arrays that differ in length from `tokens`, and for
// ids that are no index of it.
Result<GgufTokenizerFields> ReadGgufTokenizer(const GgufReader& gguf);

}  // namespace octavo
