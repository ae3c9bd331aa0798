// SPDX-License-Identifier: Apache-2.0
// Fuzz target: a safetensors file. Whatever is accepted must lie inside the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "io/safetensors_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto reader = SafetensorsReader::FromFile(MmapFile::FromMemory("fuzz", text));
  if (!reader.ok()) return 0;
  uint64_t covered = 0;
  for (const SafetensorsEntry& entry : reader->tensors()) {
    if (entry.offset > size || entry.bytes > size - entry.offset) std::abort();
    if (reader->View(entry).SizeBytes() != entry.bytes) std::abort();
    covered += entry.bytes;
  }
  if (covered > size) std::abort();
  return 0;
}
