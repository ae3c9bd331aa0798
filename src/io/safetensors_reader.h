// SPDX-License-Identifier: Apache-2.0
// Reads one safetensors file.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/mmap_file.h"
#include "io/safetensors_header.h"
#include "octavo/status.h"
#include "tensor/tensor_view.h"

namespace octavo {

// Move-only; const members are safe from any thread. The file is validated completely by Open, so
// every entry's range lies inside it.
class SafetensorsReader {
 public:
  // Errors name the file and the tensor or byte: DataLoss for a violated format.
  static Result<SafetensorsReader> Open(const std::string& path);
  static Result<SafetensorsReader> FromFile(MmapFile file);

  const MmapFile& file() const { return file_; }
  // By file offset; SafetensorsEntry::offset counts from the start of the file.
  const std::vector<SafetensorsEntry>& tensors() const { return header_.tensors; }
  // "__metadata__", in file order.
  const std::vector<std::pair<std::string, std::string>>& metadata() const {
    return header_.metadata;
  }
  // nullptr when there is no such tensor.
  const SafetensorsEntry* Find(std::string_view name) const;
  // The bytes in the mapping; see MmapFile about files that shrink.
  TensorView View(const SafetensorsEntry& entry) const {
    return {file_.data() + entry.offset, entry.dtype, entry.shape};
  }

 private:
  MmapFile file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace octavo
