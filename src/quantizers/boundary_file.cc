// SPDX-License-Identifier: Apache-2.0
// Positioned reads and writes of rows, with a running hash.
#include "quantizers/boundary_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/file.h"

namespace octavo {
namespace {

constexpr uint64_t kHashSeed = 0xcbf29ce484222325u;
constexpr uint64_t kHashPrime = 0x9e3779b97f4a7c15u;
constexpr int64_t kHashRows = 256;

}  // namespace

BoundaryFile& BoundaryFile::operator=(BoundaryFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(cols_, other.cols_);
  std::swap(next_row_, other.next_row_);
  std::swap(hash_, other.hash_);
  return *this;
}

BoundaryFile::~BoundaryFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<BoundaryFile> BoundaryFile::Create(const std::string& path, int64_t rows, int64_t cols) {
  BoundaryFile file;
  file.path_ = path;
  file.cols_ = cols;
  file.hash_ = kHashSeed;
  file.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file.fd_ < 0) return ErrnoStatus(path, "create");
  const auto bytes = static_cast<off_t>(rows * cols) * static_cast<off_t>(sizeof(float));
  if (const int error = ::posix_fallocate(file.fd_, 0, bytes); error != 0) {
    return ResourceExhausted(fmt::format("{}: no room for {} bytes of activations: {}", path, bytes,
                                         std::strerror(error)));
  }
  return file;
}

Result<BoundaryFile> BoundaryFile::Open(const std::string& path, int64_t rows, int64_t cols,
                                        const std::string& hash) {
  BoundaryFile file;
  file.path_ = path;
  file.cols_ = cols;
  file.hash_ = kHashSeed;
  file.fd_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file.fd_ < 0) return ErrnoStatus(path, "open");
  std::vector<float> values(static_cast<size_t>(std::min(kHashRows, rows) * cols));
  for (int64_t row = 0; row < rows; row += kHashRows) {
    const int64_t count = std::min(kHashRows, rows - row);
    OCTAVO_RETURN_IF_ERROR(file.Read(row, count, values.data()));
    file.AddToHash(values.data(), count * cols);
  }
  file.next_row_ = rows;
  if (file.hash() == hash) return file;
  return DataLoss(fmt::format("{}: activations do not match their hash", path));
}

Status BoundaryFile::Read(int64_t row, int64_t count, float* out) const {
  auto* to = reinterpret_cast<char*>(out);
  auto left = static_cast<size_t>(count * cols_) * sizeof(float);
  auto offset = static_cast<off_t>(row * cols_) * static_cast<off_t>(sizeof(float));
  while (left > 0) {
    const ssize_t got = ::pread(fd_, to, left, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(path_, "read");
    if (got == 0) return DataLoss(path_ + ": is shorter than the activations it should hold");
    to += got;
    left -= static_cast<size_t>(got);
    offset += got;
  }
  return Status::Ok();
}

Status BoundaryFile::Write(int64_t row, int64_t count, const float* values) {
  OCTAVO_CHECK(row == next_row_);
  next_row_ += count;
  AddToHash(values, count * cols_);
  const auto* from = reinterpret_cast<const char*>(values);
  auto left = static_cast<size_t>(count * cols_) * sizeof(float);
  auto offset = static_cast<off_t>(row * cols_) * static_cast<off_t>(sizeof(float));
  while (left > 0) {
    const ssize_t put = ::pwrite(fd_, from, left, offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoStatus(path_, "write");
    from += put;
    left -= static_cast<size_t>(put);
    offset += put;
  }
  return Status::Ok();
}

std::string BoundaryFile::hash() const { return fmt::format("{:016x}", hash_); }

void BoundaryFile::AddToHash(const float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, values + i, sizeof bits);
    hash_ = (hash_ ^ bits) * kHashPrime;
    hash_ ^= hash_ >> 29;
  }
}

}  // namespace octavo
