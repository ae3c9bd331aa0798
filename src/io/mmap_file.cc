// SPDX-License-Identifier: Apache-2.0
// mmap, pread and the page advice around them.
#include "io/mmap_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/file.h"

namespace octavo {

Result<MmapFile> MmapFile::Open(const std::string& path) {
  MmapFile file;
  file.path_ = path;
  // O_NONBLOCK: opening a FIFO must fail below instead of waiting for a writer.
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd_ < 0) return ErrnoStatus(path, "open");
  struct stat info{};
  if (::fstat(file.fd_, &info) != 0) return ErrnoStatus(path, "stat");
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument(fmt::format("{}: is {}, want a regular file", path,
                                       S_ISDIR(info.st_mode) ? "a folder" : "a special file"));
  }
  file.size_ = static_cast<uint64_t>(info.st_size);
  if (file.size_ == 0) return file;
  void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, file.fd_, 0);
  if (data == MAP_FAILED) return ErrnoStatus(path, "mmap");
  file.data_ = static_cast<const std::byte*>(data);
  ::madvise(data, file.size_, MADV_SEQUENTIAL);
  ::posix_fadvise(file.fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  return file;
}

MmapFile MmapFile::FromMemory(std::string name, std::string content) {
  MmapFile file;
  file.path_ = std::move(name);
  file.memory_ = std::move(content);
  file.size_ = file.memory_.size();
  file.data_ = reinterpret_cast<const std::byte*>(file.memory_.data());
  return file;
}

void MmapFile::Swap(MmapFile& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(memory_, other.memory_);
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  // A short string lives inside the object, so moving it moves the bytes.
  for (MmapFile* file : {this, &other}) {
    if (file->fd_ < 0 && file->data_ != nullptr) {
      file->data_ = reinterpret_cast<const std::byte*>(file->memory_.data());
    }
  }
}

MmapFile::MmapFile(MmapFile&& other) noexcept { Swap(other); }

MmapFile& MmapFile::operator=(MmapFile&& other) noexcept {
  if (this != &other) Swap(other);
  return *this;
}

MmapFile::~MmapFile() {
  if (fd_ < 0) return;
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  ::close(fd_);
}

Status MmapFile::ReadRange(uint64_t offset, uint64_t bytes, void* out) const {
  if (offset > size_ || bytes > size_ - offset) {
    return DataLoss(
        fmt::format("{}: bytes [{}, +{}) lie beyond the end at {}", path_, offset, bytes, size_));
  }
  if (bytes == 0) return Status::Ok();
  if (fd_ < 0) {
    std::memcpy(out, data_ + offset, bytes);
    return Status::Ok();
  }
  auto* cursor = static_cast<char*>(out);
  const uint64_t end = offset + bytes;
  while (offset < end) {
    const ssize_t count = ::pread(fd_, cursor, end - offset, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(path_, "read");
    if (count == 0) {
      return DataLoss(fmt::format("{}: shrank while it was being read: ends at {}, was {} bytes",
                                  path_, offset, size_));
    }
    cursor += count;
    offset += static_cast<uint64_t>(count);
  }
  return Status::Ok();
}

void MmapFile::Prefetch(uint64_t offset, uint64_t bytes) const {
  if (fd_ < 0 || offset >= size_) return;
  bytes = std::min(bytes, size_ - offset);
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
}

void MmapFile::DropPages(uint64_t offset, uint64_t bytes) const {
  if (fd_ < 0 || data_ == nullptr || offset >= size_) return;
  bytes = std::min(bytes, size_ - offset);
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = (offset + page - 1) / page * page;
  // The file's last page may be dropped although the file ends inside it.
  const uint64_t end = offset + bytes == size_ ? size_ : (offset + bytes) / page * page;
  if (begin >= end) return;
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace octavo
