// SPDX-License-Identifier: Apache-2.0
// Positioned writes and their bookkeeping.
#include "hub/part_ledger.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <numeric>
#include <utility>

namespace octavo::hub {
namespace {

constexpr size_t kHeadValues = 2;

std::string NotePath(const std::string& path) { return path + ".parts"; }

// The status of a failed write; a full disk says how to go on.
Status WriteError(const std::string& path) {
  const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  const Status status = ErrnoStatus(path, "write");
  if (!full) return status;
  return ResourceExhausted(status.message() +
                           "; what has arrived is kept, the next pull goes on from there");
}

Status WriteAt(int fd, std::string_view bytes, uint64_t offset, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return WriteError(path);
    bytes.remove_prefix(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return Status::Ok();
}

std::string_view AsBytes(const uint64_t* values, size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(uint64_t)};
}

}  // namespace

PartLedger::PartLedger(std::string path, uint64_t size, uint64_t part_bytes)
    : path_(std::move(path)),
      size_(size),
      part_bytes_(part_bytes),
      done_(static_cast<size_t>((size + part_bytes - 1) / part_bytes)) {}

Result<std::unique_ptr<PartLedger>> PartLedger::Open(const std::string& path, uint64_t size,
                                                     uint64_t part_bytes) {
  std::unique_ptr<PartLedger> ledger(new PartLedger(path, size, part_bytes));
  OCTAVO_RETURN_IF_ERROR(ledger->OpenFiles());
  if (!ledger->ReadNote()) OCTAVO_RETURN_IF_ERROR(ledger->StartAfresh());
  return ledger;
}

Status PartLedger::OpenFiles() {
  constexpr int kFlags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
  file_ = FileDescriptor(::open(path_.c_str(), kFlags, 0666));
  if (file_.get() < 0) return ErrnoStatus(path_, "open");
  note_ = FileDescriptor(::open(NotePath(path_).c_str(), kFlags, 0666));
  return note_.get() < 0 ? ErrnoStatus(NotePath(path_), "open") : Status::Ok();
}

uint64_t PartLedger::part_size(size_t part) const {
  return std::min(part_bytes_, size_ - begin(part));
}

uint64_t PartLedger::total_done() const {
  return std::accumulate(done_.begin(), done_.end(), uint64_t{0});
}

// False when there is no note for this file, or one that cannot be true.
bool PartLedger::ReadNote() {
  std::vector<uint64_t> values(kHeadValues + done_.size() + 1);  // one more: a longer note shows
  const ssize_t bytes = ::pread(note_.get(), values.data(), values.size() * sizeof(uint64_t), 0);
  if (bytes != static_cast<ssize_t>((values.size() - 1) * sizeof(uint64_t))) return false;
  if (values[0] != size_ || values[1] != part_bytes_) return false;
  uint64_t end = 0;
  for (size_t part = 0; part < done_.size(); ++part) {
    done_[part] = values[kHeadValues + part];
    if (done_[part] > part_size(part)) return false;
    if (done_[part] > 0) end = begin(part) + done_[part];
  }
  struct stat info{};
  return ::fstat(file_.get(), &info) == 0 && static_cast<uint64_t>(info.st_size) >= end;
}

Status PartLedger::StartAfresh() {
  std::fill(done_.begin(), done_.end(), 0);
  if (::ftruncate(note_.get(), 0) != 0 || ::ftruncate(file_.get(), 0) != 0) {
    return ErrnoStatus(path_, "truncate");
  }
  // File systems that cannot reserve space find out when they are full.
  const auto length = static_cast<off_t>(size_);
  if (::fallocate(file_.get(), 0, 0, length) != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
    const bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    Status status = ErrnoStatus(path_, fmt::format("reserving {} bytes", size_));
    Remove(path_);
    return full ? ResourceExhausted(status.message()) : status;
  }
  std::vector<uint64_t> values(kHeadValues + done_.size());
  values[0] = size_;
  values[1] = part_bytes_;
  return WriteAt(note_.get(), AsBytes(values.data(), values.size()), 0, NotePath(path_));
}

Status PartLedger::Note(size_t part) {
  return WriteAt(note_.get(), AsBytes(&done_[part], 1), (kHeadValues + part) * sizeof(uint64_t),
                 NotePath(path_));
}

Status PartLedger::Write(size_t part, std::string_view bytes) {
  OCTAVO_RETURN_IF_ERROR(WriteAt(file_.get(), bytes, begin(part) + done_[part], path_));
  done_[part] += bytes.size();
  return Note(part);
}

Status PartLedger::Reset(size_t part) {
  done_[part] = 0;
  return Note(part);
}

Status PartLedger::Publish(const std::string& destination) {
  if (::fsync(file_.get()) != 0) return WriteError(path_);
  if (::rename(path_.c_str(), destination.c_str()) != 0) return ErrnoStatus(destination, "rename");
  ::unlink(NotePath(path_).c_str());
  return Status::Ok();
}

void PartLedger::Remove(const std::string& path) {
  ::unlink(path.c_str());
  ::unlink(NotePath(path).c_str());
}

}  // namespace octavo::hub
