// SPDX-License-Identifier: Apache-2.0
// An unlinked temporary file.
#include "base/scratch_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/file.h"

namespace octavo {

Result<ScratchFile> ScratchFile::Create(const std::string& folder) {
  const char* variable = std::getenv("TMPDIR");
  std::string root = folder;
  if (root.empty()) root = variable != nullptr && *variable != '\0' ? variable : "/var/tmp";
  ScratchFile file;
  std::string path = root + "/octavo-scratch-XXXXXX";
  file.name_ = fmt::format("{}: scratch file", root);
  file.fd_ = ::mkostemp(path.data(), 0);
  if (file.fd_ < 0) return ErrnoStatus(file.name_, "create");
  if (::unlink(path.c_str()) != 0) return ErrnoStatus(file.name_, "unlink");
  return file;
}

ScratchFile::ScratchFile(ScratchFile&& other) noexcept { *this = std::move(other); }

ScratchFile& ScratchFile::operator=(ScratchFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(name_, other.name_);
  return *this;
}

ScratchFile::~ScratchFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status ScratchFile::Write(uint64_t offset, const void* data, uint64_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = ::pwrite(fd_, from, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(name_, "write");
    from += count;
    offset += static_cast<uint64_t>(count);
    bytes -= static_cast<uint64_t>(count);
  }
  return Status::Ok();
}

Status ScratchFile::Read(uint64_t offset, uint64_t bytes, void* out) const {
  char* to = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t count = ::pread(fd_, to, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(name_, "read");
    if (count == 0) return DataLoss(fmt::format("{}: nothing at byte {}", name_, offset));
    to += count;
    offset += static_cast<uint64_t>(count);
    bytes -= static_cast<uint64_t>(count);
  }
  return Status::Ok();
}

}  // namespace octavo
