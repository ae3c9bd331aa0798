// SPDX-License-Identifier: Apache-2.0
// Opens a safetensors file: length prefix, header, index by name.
#include "io/safetensors_reader.h"

#include <fmt/format.h>

#include <array>

namespace octavo {
namespace {

Result<SafetensorsHeader> ReadHeader(const MmapFile& file) {
  std::array<unsigned char, 8> prefix{};
  if (file.size() < prefix.size()) {
    return DataLoss(fmt::format("{} bytes, too short for a safetensors file", file.size()));
  }
  OCTAVO_RETURN_IF_ERROR(file.ReadRange(0, prefix.size(), prefix.data()));
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < prefix.size(); ++i) header_bytes |= uint64_t{prefix[i]} << (8 * i);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return DataLoss(
        fmt::format("header of {} bytes, the format allows {} (not a safetensors file?)",
                    header_bytes, kMaxSafetensorsHeaderBytes));
  }
  if (header_bytes > file.size() - prefix.size()) {
    return DataLoss(fmt::format("header of {} bytes ends beyond the file of {} bytes", header_bytes,
                                file.size()));
  }
  std::string json(header_bytes, '\0');
  OCTAVO_RETURN_IF_ERROR(file.ReadRange(prefix.size(), header_bytes, json.data()));
  const uint64_t data_start = prefix.size() + header_bytes;
  OCTAVO_ASSIGN_OR_RETURN(SafetensorsHeader header,
                          ParseSafetensorsHeader(json, file.size() - data_start));
  for (SafetensorsEntry& entry : header.tensors) entry.offset += data_start;
  return header;
}

}  // namespace

Result<SafetensorsReader> SafetensorsReader::Open(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(MmapFile file, MmapFile::Open(path));
  return FromFile(std::move(file));
}

Result<SafetensorsReader> SafetensorsReader::FromFile(MmapFile file) {
  SafetensorsReader reader;
  reader.file_ = std::move(file);
  auto header = ReadHeader(reader.file_);
  if (!header.ok()) return std::move(header).status().WithContext(reader.file_.path());
  reader.header_ = std::move(header).value();
  for (size_t i = 0; i < reader.header_.tensors.size(); ++i) {
    reader.by_name_.emplace(reader.header_.tensors[i].name, i);
  }
  return reader;
}

const SafetensorsEntry* SafetensorsReader::Find(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  return it == by_name_.end() ? nullptr : &header_.tensors[it->second];
}

}  // namespace octavo
