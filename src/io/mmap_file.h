// SPDX-License-Identifier: Apache-2.0
// A read-only file, mapped and readable by range, that keeps the reader's resident memory bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "octavo/status.h"

namespace octavo {

// Move-only. All const members may be called from any thread.
//
// Two ways to read: data() (no copy; pages count as resident until DropPages) and ReadRange (a copy
// through pread; adds nothing to the resident set). If another process truncates the file while it
// is open, touching data() beyond the new end raises SIGBUS, as POSIX prescribes, while ReadRange
// returns DataLoss. Octavo therefore reads headers and weights with ReadRange; data() is for
// callers that own the file.
class MmapFile {
 public:
  // Errors: NotFound, IoError, InvalidArgument when `path` is not a regular file.
  static Result<MmapFile> Open(const std::string& path);

  // The same interface over bytes in memory; `name` stands for the path in messages.
  static MmapFile FromMemory(std::string name, std::string content);

  MmapFile() = default;
  MmapFile(MmapFile&& other) noexcept;
  MmapFile& operator=(MmapFile&& other) noexcept;
  MmapFile(const MmapFile&) = delete;
  MmapFile& operator=(const MmapFile&) = delete;
  ~MmapFile();

  const std::string& path() const { return path_; }
  // Size when opened.
  uint64_t size() const { return size_; }
  // nullptr for an empty file.
  const std::byte* data() const { return data_; }

  // Copies [offset, offset + bytes) to `out`. DataLoss when the range ends beyond the file.
  Status ReadRange(uint64_t offset, uint64_t bytes, void* out) const;

  // Starts reading the range in the background. A hint; ranges beyond the file are cut.
  void Prefetch(uint64_t offset, uint64_t bytes) const;

  // Takes the pages that lie wholly inside the range out of the resident set; the page cache keeps
  // them. data() stays valid and faults them in again.
  void DropPages(uint64_t offset, uint64_t bytes) const;

 private:
  void Swap(MmapFile& other) noexcept;

  std::string path_;
  std::string memory_;  // FromMemory only: data_ points into it.
  int fd_ = -1;
  const std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace octavo
