// SPDX-License-Identifier: Apache-2.0
// pwrite into a preallocated temporary file, with a journal that lags behind the data on purpose.
#include "io/safetensors_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>
#include <tuple>

#include "base/file.h"

namespace octavo {
namespace {

// One fdatasync per this many bytes keeps the journal honest without slowing small tensors down.
constexpr uint64_t kJournalBatchBytes = uint64_t{512} << 20;
// Write-back starts early for pieces of at least this size, so that Finish() has little to sync.
constexpr size_t kEarlyWritebackBytes = size_t{4} << 20;
constexpr size_t kMaxJournalBytes = size_t{256} << 20;

Status PwriteAll(int fd, const char* data, size_t size, uint64_t offset, const std::string& path) {
  while (size > 0) {
    const ssize_t written = ::pwrite(fd, data, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(path, "write");
    data += written;
    size -= static_cast<size_t>(written);
    offset += static_cast<uint64_t>(written);
  }
  return Status::Ok();
}

uint64_t Fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, std::span<const TensorSpec> specs, const Options& options) {
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter());
  writer->path_ = path;
  writer->partial_path_ = path + ".partial";
  writer->journal_path_ = path + ".partial.journal";
  writer->options_ = options;
  auto& metadata = writer->options_.metadata;
  const auto is_format = [](const auto& item) { return item.first == "format"; };
  if (std::none_of(metadata.begin(), metadata.end(), is_format)) {
    metadata.insert(metadata.begin(), {"format", "pt"});
  }
  std::replace(writer->options_.fingerprint.begin(), writer->options_.fingerprint.end(), '\n', ' ');
  for (const TensorSpec& spec : specs) {
    writer->tensors_.push_back({spec.name, spec.dtype, spec.shape, 0, 0});
  }
  std::sort(writer->tensors_.begin(), writer->tensors_.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(b.dtype, a.name) < std::tie(a.dtype, b.name);
            });
  auto header = MakeSafetensorsHeader(writer->tensors_, metadata);
  if (!header.ok()) return std::move(header).status().WithContext(path);
  for (size_t i = 0; i < writer->tensors_.size(); ++i) {
    writer->by_name_.emplace(writer->tensors_[i].name, i);
    writer->data_bytes_ += writer->tensors_[i].bytes;
  }
  writer->data_start_ = header->size();
  writer->complete_.assign(writer->tensors_.size(), false);
  OCTAVO_RETURN_IF_ERROR(writer->OpenFiles(*header));
  return writer;
}

std::string SafetensorsWriter::JournalHead(const std::string& header) const {
  return fmt::format("octavo-journal 1 header {:016x} {}\n", Fnv1a(header), options_.fingerprint);
}

Status SafetensorsWriter::OpenFiles(const std::string& header) {
  fd_ = ::open(partial_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) return ErrnoStatus(partial_path_, "open");
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd_);
    fd_ = -1;  // Not ours: the destructor must leave it alone.
    return FailedPrecondition(
        fmt::format("{}: another run is writing this file; wait for it or stop it", partial_path_));
  }
  if (options_.keep_partial && TryResume(header)) return Status::Ok();
  return StartAfresh(header);
}

bool SafetensorsWriter::TryResume(const std::string& header) {
  struct stat info{};
  if (::fstat(fd_, &info) != 0) return false;
  if (static_cast<uint64_t>(info.st_size) != data_start_ + data_bytes_) return false;
  std::string found(header.size(), '\0');
  if (::pread(fd_, found.data(), found.size(), 0) != static_cast<ssize_t>(found.size()))
    return false;
  if (found != header) return false;
  const auto journal = ReadFile(journal_path_, kMaxJournalBytes);
  const std::string head = JournalHead(header);
  if (!journal.ok() || !journal->starts_with(head)) return false;
  journal_fd_ = ::open(journal_path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  if (journal_fd_ < 0) return false;
  size_t begin = head.size();
  // A last line without its newline was cut by the interruption and does not count.
  for (size_t end = 0; (end = journal->find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto it = by_name_.find(journal->substr(begin, end - begin));
    if (it != by_name_.end()) complete_[it->second] = true;
  }
  num_resumed_ = static_cast<size_t>(std::count(complete_.begin(), complete_.end(), true));
  // Drop the cut line, or the next name would be glued to it.
  return ::ftruncate(journal_fd_, static_cast<off_t>(begin)) == 0;
}

Status SafetensorsWriter::StartAfresh(const std::string& header) {
  complete_.assign(tensors_.size(), false);
  num_resumed_ = 0;
  if (journal_fd_ >= 0) ::close(journal_fd_);
  journal_fd_ = -1;
  ::unlink(journal_path_.c_str());
  if (::ftruncate(fd_, 0) != 0) return ErrnoStatus(partial_path_, "truncate");
  // Reserving the blocks now reports a full disk before hours of work; some file systems cannot.
  const auto total = static_cast<off_t>(data_start_ + data_bytes_);
  if (::fallocate(fd_, 0, 0, total) != 0) {
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) {
      return ErrnoStatus(partial_path_, fmt::format("reserving {} bytes", total));
    }
    if (::ftruncate(fd_, total) != 0) return ErrnoStatus(partial_path_, "resize");
  }
  OCTAVO_RETURN_IF_ERROR(PwriteAll(fd_, header.data(), header.size(), 0, partial_path_));
  if (!options_.keep_partial) return Status::Ok();
  journal_fd_ = ::open(journal_path_.c_str(),
                       O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (journal_fd_ < 0) return ErrnoStatus(journal_path_, "open");
  const std::string head = JournalHead(header);
  if (::write(journal_fd_, head.data(), head.size()) != static_cast<ssize_t>(head.size())) {
    return ErrnoStatus(journal_path_, "write");
  }
  return Status::Ok();
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ < 0) return;
  if (!finished_) {
    if (options_.keep_partial) {
      (void)Flush();  // Best effort: what is not journaled is written again.
    } else {
      ::unlink(partial_path_.c_str());
      ::unlink(journal_path_.c_str());
    }
  }
  ::close(fd_);
  if (journal_fd_ >= 0) ::close(journal_fd_);
}

Result<size_t> SafetensorsWriter::IndexOf(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  if (it != by_name_.end()) return it->second;
  return NotFound(fmt::format("{}: tensor '{}' was not declared", path_, name));
}

Status SafetensorsWriter::WriteAt(std::string_view name, uint64_t offset,
                                  std::span<const std::byte> data) {
  OCTAVO_ASSIGN_OR_RETURN(const size_t index, IndexOf(name));
  const SafetensorsEntry& entry = tensors_[index];
  if (offset > entry.bytes || data.size() > entry.bytes - offset) {
    return InvalidArgument(fmt::format("{}: tensor '{}': write of [{}, +{}), it has {} bytes",
                                       path_, name, offset, data.size(), entry.bytes));
  }
  const uint64_t position = data_start_ + entry.offset + offset;
  OCTAVO_RETURN_IF_ERROR(PwriteAll(fd_, reinterpret_cast<const char*>(data.data()), data.size(),
                                   position, partial_path_));
  if (data.size() >= kEarlyWritebackBytes) {
    ::sync_file_range(fd_, static_cast<off_t>(position), static_cast<off_t>(data.size()),
                      SYNC_FILE_RANGE_WRITE);
  }
  return Status::Ok();
}

Status SafetensorsWriter::WriteTensor(std::string_view name, std::span<const std::byte> data) {
  OCTAVO_ASSIGN_OR_RETURN(const size_t index, IndexOf(name));
  if (data.size() != tensors_[index].bytes) {
    return InvalidArgument(fmt::format("{}: tensor '{}': got {} bytes, want {}", path_, name,
                                       data.size(), tensors_[index].bytes));
  }
  OCTAVO_RETURN_IF_ERROR(WriteAt(name, 0, data));
  return MarkComplete(name);
}

Status SafetensorsWriter::MarkComplete(std::string_view name) {
  OCTAVO_ASSIGN_OR_RETURN(const size_t index, IndexOf(name));
  const std::lock_guard<std::mutex> lock(mutex_);
  if (complete_[index]) return Status::Ok();
  complete_[index] = true;
  if (journal_fd_ < 0) return Status::Ok();
  unjournaled_.push_back(index);
  unjournaled_bytes_ += tensors_[index].bytes;
  return unjournaled_bytes_ < kJournalBatchBytes ? Status::Ok() : FlushLocked();
}

bool SafetensorsWriter::IsComplete(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  if (it == by_name_.end()) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  return complete_[it->second];
}

Status SafetensorsWriter::Flush() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return FlushLocked();
}

Status SafetensorsWriter::FlushLocked() {
  if (journal_fd_ < 0 || unjournaled_.empty()) return Status::Ok();
  if (::fdatasync(fd_) != 0) return ErrnoStatus(partial_path_, "fdatasync");
  std::string lines;
  for (const size_t index : unjournaled_) {
    // A name with a line break cannot be journaled; its tensor is written again after a resume.
    if (tensors_[index].name.find('\n') == std::string::npos) lines += tensors_[index].name + "\n";
  }
  if (::write(journal_fd_, lines.data(), lines.size()) != static_cast<ssize_t>(lines.size())) {
    return ErrnoStatus(journal_path_, "write");
  }
  if (::fdatasync(journal_fd_) != 0) return ErrnoStatus(journal_path_, "fdatasync");
  unjournaled_.clear();
  unjournaled_bytes_ = 0;
  return Status::Ok();
}

Status SafetensorsWriter::Finish() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (complete_[i] || tensors_[i].bytes == 0) continue;
    return FailedPrecondition(
        fmt::format("{}: tensor '{}' was never completed", path_, tensors_[i].name));
  }
  if (::fsync(fd_) != 0) return ErrnoStatus(partial_path_, "fsync");
  if (::rename(partial_path_.c_str(), path_.c_str()) != 0) return ErrnoStatus(path_, "rename");
  finished_ = true;
  ::unlink(journal_path_.c_str());
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  return SyncFolder(folder.empty() ? "." : folder);
}

}  // namespace octavo
