// SPDX-License-Identifier: Apache-2.0
// A temporary file without a name, for data that is too large for memory.
#pragma once

#include <cstdint>
#include <string>

#include "octavo/status.h"

namespace octavo {

// Reads and writes copy through pread and pwrite, so the file adds nothing to the resident set. It is
// gone when the object or the process ends, however it ends. Move-only; const members and writes to
// ranges apart are safe from any thread.
class ScratchFile {
 public:
  // In `folder`; empty: $TMPDIR, else /var/tmp, which is on disk where /tmp is memory.
  static Result<ScratchFile> Create(const std::string& folder = "");

  ScratchFile() = default;
  ScratchFile(ScratchFile&& other) noexcept;
  ScratchFile& operator=(ScratchFile&& other) noexcept;
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile();

  // Errors: IoError and ResourceExhausted (disk full) naming the folder.
  Status Write(uint64_t offset, const void* data, uint64_t bytes);
  // DataLoss when the range was not written.
  Status Read(uint64_t offset, uint64_t bytes, void* out) const;

 private:
  int fd_ = -1;
  std::string name_;  // for messages
};

}  // namespace octavo
