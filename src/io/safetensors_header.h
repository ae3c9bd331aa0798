// SPDX-License-Identifier: Apache-2.0
// The JSON header of a safetensors file: strict parsing, validation and writing.
//
//   | u64 LE N | N bytes of JSON | data, tiled exactly by the tensors |
//
// Stricter than the format's reference reader in one point: duplicate names are refused, which the
// format forbids and that reader lets pass.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "octavo/dtype.h"
#include "octavo/status.h"
#include "tensor/shape.h"

namespace octavo {

// Limit on N of the format's reference reader.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kMaxSafetensorsTensors = size_t{1} << 20;

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t offset = 0;  // In the file when from a reader; in the data part when from the parser.
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;                      // By offset, then by size.
  std::vector<std::pair<std::string, std::string>> metadata;  // "__metadata__", in file order.
};

// Parses the N header bytes and checks that the tensors tile [0, data_bytes) without hole, overlap
// or rest. Memory stays proportional to the header. Errors: DataLoss naming the tensor and byte.
Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, uint64_t data_bytes);

// The 8 + N first bytes of a file with these tensors, in this order, padded with spaces to a
// multiple of 8. Sets each entry's `offset` (in the data part) and `bytes`.
// Errors: InvalidArgument for duplicate or empty names and for shapes that overflow.
Result<std::string> MakeSafetensorsHeader(
    std::vector<SafetensorsEntry>& tensors,
    const std::vector<std::pair<std::string, std::string>>& metadata);

}  // namespace octavo
