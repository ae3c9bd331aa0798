// SPDX-License-Identifier: Apache-2.0
// POSIX file helpers; every error names the path and carries strerror.
#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace octavo {
namespace {

Status WriteAll(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(path, "write");
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
  return Status::Ok();
}

// Devices and pipes (/dev/stdout, a FIFO): renaming over one would replace it.
bool IsSpecialFile(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

Status WriteSpecialFile(const std::string& path, std::string_view content) {
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoStatus(path, "open");
  return WriteAll(file.get(), content, path);
}

}  // namespace

void FileDescriptor::Close() {
  if (fd_ >= 0) ::close(fd_);
}

Status ErrnoStatus(std::string_view path, std::string_view operation) {
  const int error = errno;
  StatusCode code = StatusCode::kIoError;
  if (error == ENOENT) code = StatusCode::kNotFound;
  if (error == ENOSPC || error == ENOMEM || error == EDQUOT) code = StatusCode::kResourceExhausted;
  return {code, fmt::format("{}: {} failed: {}", path, operation, std::strerror(error))};
}

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoStatus(path, "open");
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return ErrnoStatus(path, "stat");
  if (S_ISDIR(info.st_mode)) return InvalidArgument(path + ": is a folder, want a file");
  std::string content;
  if (info.st_size > 0) content.reserve(std::min(static_cast<size_t>(info.st_size), max_bytes));
  char buffer[1 << 16];
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(path, "read");
    }
    if (count == 0) return content;
    if (content.size() + static_cast<size_t>(count) > max_bytes) {
      return ResourceExhausted(fmt::format("{}: larger than the limit of {} bytes", path, max_bytes));
    }
    content.append(buffer, static_cast<size_t>(count));
  }
}

Status SyncFolder(const std::string& path) {
  const FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return ErrnoStatus(path, "open");
  if (::fsync(folder.get()) != 0) return ErrnoStatus(path, "fsync");
  return Status::Ok();
}

Status WriteFileAtomically(const std::string& path, std::string_view content) {
  if (IsSpecialFile(path)) return WriteSpecialFile(path, content);
  const std::string temporary = fmt::format("{}.tmp.{}", path, ::getpid());
  Status status;
  {
    const FileDescriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) return ErrnoStatus(temporary, "open");
    status = WriteAll(file.get(), content, temporary);
    if (status.ok() && ::fsync(file.get()) != 0) status = ErrnoStatus(temporary, "fsync");
  }
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoStatus(path, "rename");
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return SyncFolder(folder.empty() ? "." : folder);
}

}  // namespace octavo
