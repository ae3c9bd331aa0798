// SPDX-License-Identifier: Apache-2.0
// Whole-file reads and atomic writes, and the owner of a file descriptor.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "octavo/status.h"

namespace octavo {

// Owns a file descriptor; negative: none.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor() { Close(); }
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }

  int get() const { return fd_; }

 private:
  void Close();

  int fd_;
};

// Reads a regular file of at most `max_bytes`.
Result<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 30);

// Writes so that `path` either keeps its old content or has all of the new: temporary file in the
// same folder, fsync, rename, fsync of the folder. A path that names a device or a pipe is written
// directly.
Status WriteFileAtomically(const std::string& path, std::string_view content);

// Syncs a folder, so that a rename inside it survives a power loss.
Status SyncFolder(const std::string& path);

// "open failed: No such file or directory", for the current errno.
Status ErrnoStatus(std::string_view path, std::string_view operation);

}  // namespace octavo
