// SPDX-License-Identifier: Apache-2.0
// One model on disk, a Hugging Face folder or a GGUF file, behind one interface.
//
// Both forms speak Hugging Face's names, row order and config.json; a GGUF's tensors stay in their
// own bits (StoredTensor::ggml_type) until a reader asks for values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "io/gguf_reader.h"
#include "io/safetensors_reader.h"
#include "io/stored_tensor.h"
#include "octavo/status.h"

namespace octavo {

class Checkpoint {
 public:
  // `path`: a folder with config.json and safetensors, or a .gguf file. Anything else is an error
  // that says what was found and what is wanted.
  static Result<std::unique_ptr<Checkpoint>> Open(const std::string& path);
  // From a GGUF already read, e.g. from memory.
  static Result<std::unique_ptr<Checkpoint>> FromGguf(std::unique_ptr<GgufReader> gguf);

  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const std::string& path() const { return path_; }
  bool is_gguf() const { return gguf_ != nullptr; }
  // Metadata and tokenizer fields of a GGUF; nullptr for a folder.
  const GgufReader* gguf() const { return gguf_.get(); }

  // config.json as it is in the folder, or built from GGUF metadata in the same spelling.
  // NormalizeConfig (hf_config.h) removes the differences between config generations.
  const Json& config() const { return config_; }

  // All tensors, by file and offset. No lm_head.weight means that it is tied to the embedding.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  // nullptr when there is no such tensor.
  const StoredTensor* Find(std::string_view name) const;

  // The readers below copy through pread: they add nothing to the resident set but `out`, and
  // report DataLoss if the file shrank. Rows come in Hugging Face order. Safe from any thread.
  // Errors: InvalidArgument for rows out of range or, for values, a type that is no float.

  // Rows [row_begin, row_begin + row_count) as f32, [row_count, cols()]; exact for every float and
  // ggml type but F64, which is rounded.
  Status ReadRowsF32(const StoredTensor& tensor, int64_t row_begin, int64_t row_count,
                     float* out) const;
  // The same rounded to bf16 (to nearest, ties to even): the 16-bit view of a model that quantizing
  // and expanding a GGUF start from. A bf16 tensor comes unchanged.
  Status ReadRowsBf16(const StoredTensor& tensor, int64_t row_begin, int64_t row_count,
                      uint16_t* out) const;
  // Raw stored rows, [row_count, RowBytes()].
  Status ReadRowsBytes(const StoredTensor& tensor, int64_t row_begin, int64_t row_count,
                       void* out) const;
  // Any tensor's bytes as stored, `tensor.bytes` of them, rows in stored order.
  Status ReadBytes(const StoredTensor& tensor, void* out) const {
    return tensor.file->ReadRange(tensor.offset, tensor.bytes, out);
  }

 private:
  Checkpoint() = default;
  static Result<std::unique_ptr<Checkpoint>> OpenFolder(const std::string& folder);
  void IndexTensors();

  std::string path_;
  Json config_;
  std::vector<std::unique_ptr<SafetensorsReader>> shards_;
  std::unique_ptr<GgufReader> gguf_;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;  // Keys live in tensors_.
};

}  // namespace octavo
