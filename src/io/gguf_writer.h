// SPDX-License-Identifier: Apache-2.0
// Writes GGUF files (version 3): metadata and tensor table first, then the tensors' bytes in any order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/ggml_blocks.h"
#include "octavo/status.h"
#include "tensor/shape.h"

namespace octavo {

// Key-value pairs in the file's bytes. Keys must be distinct.
class GgufMetadataWriter {
 public:
  void String(std::string_view key, std::string_view value);
  void U32(std::string_view key, uint32_t value);
  void F32(std::string_view key, float value);
  void Bool(std::string_view key, bool value);
  void Strings(std::string_view key, const std::vector<std::string>& values);
  void Floats(std::string_view key, const std::vector<float>& values);
  void Ints(std::string_view key, const std::vector<int32_t>& values);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void Key(std::string_view key, uint32_t type);
  void ArrayKey(std::string_view key, uint32_t element_type, uint64_t count);

  uint64_t count_ = 0;
  std::string bytes_;
};

struct GgufTensorSpec {
  std::string name;  // at most 63 bytes
  GgmlType type = GgmlType::kF32;
  Shape shape;  // outermost first; the file has it reversed
};

// The file appears under its name in Finish() or not at all; the destructor removes PATH.partial.
class GgufWriter {
 public:
  // Tensors are laid out in the given order, each at a multiple of 32 bytes.
  // Errors: InvalidArgument for a name that is too long or a row that is no whole number of blocks;
  // FailedPrecondition when another run writes the file; IoError and ResourceExhausted.
  static Result<std::unique_ptr<GgufWriter>> Create(const std::string& path,
                                                    const GgufMetadataWriter& metadata,
                                                    std::span<const GgufTensorSpec> tensors);

  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;
  ~GgufWriter();

  // Writes bytes [offset, offset + data.size()) of tensor `index`. Any thread.
  Status WriteAt(size_t index, uint64_t offset, std::span<const std::byte> data);

  // fsync, rename, fsync of the folder.
  Status Finish();

  uint64_t data_bytes() const { return data_bytes_; }
  uint64_t TensorBytes(size_t index) const { return places_[index].bytes; }

 private:
  struct Place {
    uint64_t offset = 0;  // from the start of the data
    uint64_t bytes = 0;
  };
  GgufWriter() = default;

  std::string path_;
  std::string partial_path_;
  std::vector<Place> places_;
  uint64_t data_start_ = 0;
  uint64_t data_bytes_ = 0;
  int fd_ = -1;
  bool finished_ = false;
};

}  // namespace octavo
