// SPDX-License-Identifier: Apache-2.0
// Serializes the GGUF header and writes tensors into a preallocated temporary file.
#include "io/gguf_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/file.h"

namespace octavo {
namespace {

constexpr uint64_t kAlignment = 32;  // the format's default, so general.alignment is left out
constexpr size_t kMaxName = 63;      // ggml keeps 64 bytes with the terminating zero

enum ValueType : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <typename T>
void Put(T value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void PutString(std::string_view text, std::string& bytes) {
  Put(uint64_t{text.size()}, bytes);
  bytes.append(text);
}

uint64_t RoundUp(uint64_t value) { return (value + kAlignment - 1) / kAlignment * kAlignment; }

Result<uint64_t> BytesOf(const GgufTensorSpec& spec) {
  if (spec.name.empty() || spec.name.size() > kMaxName) {
    return InvalidArgument(
        fmt::format("tensor '{:.80}': name of {} bytes, want 1 to {}", spec.name, spec.name.size(), kMaxName));
  }
  const int rank = spec.shape.rank();
  if (rank < 1 || rank > 4) {
    return InvalidArgument(fmt::format("tensor '{}': {} dimensions, want 1 to 4", spec.name, rank));
  }
  const auto cols = static_cast<uint64_t>(spec.shape[rank - 1]);
  const auto row = GgmlRowBytes(spec.type, cols);
  if (!row || cols == 0) {
    return InvalidArgument(fmt::format("tensor '{}': rows of {} elements, want a multiple of {} for {}",
                                       spec.name, cols, InfoOf(spec.type).block_elems,
                                       InfoOf(spec.type).name));
  }
  return *row * (static_cast<uint64_t>(spec.shape.NumElements()) / cols);
}

}  // namespace

void GgufMetadataWriter::Key(std::string_view key, uint32_t type) {
  ++count_;
  PutString(key, bytes_);
  Put(type, bytes_);
}

void GgufMetadataWriter::ArrayKey(std::string_view key, uint32_t element_type, uint64_t count) {
  Key(key, kArray);
  Put(element_type, bytes_);
  Put(count, bytes_);
}

void GgufMetadataWriter::String(std::string_view key, std::string_view value) {
  Key(key, kString);
  PutString(value, bytes_);
}

void GgufMetadataWriter::U32(std::string_view key, uint32_t value) {
  Key(key, kU32);
  Put(value, bytes_);
}

void GgufMetadataWriter::F32(std::string_view key, float value) {
  Key(key, kF32);
  Put(value, bytes_);
}

void GgufMetadataWriter::Bool(std::string_view key, bool value) {
  Key(key, kBool);
  Put(static_cast<uint8_t>(value ? 1 : 0), bytes_);
}

void GgufMetadataWriter::Strings(std::string_view key, const std::vector<std::string>& values) {
  ArrayKey(key, kString, values.size());
  for (const std::string& value : values) PutString(value, bytes_);
}

void GgufMetadataWriter::Floats(std::string_view key, const std::vector<float>& values) {
  ArrayKey(key, kF32, values.size());
  for (const float value : values) Put(value, bytes_);
}

void GgufMetadataWriter::Ints(std::string_view key, const std::vector<int32_t>& values) {
  ArrayKey(key, kI32, values.size());
  for (const int32_t value : values) Put(value, bytes_);
}

Result<std::unique_ptr<GgufWriter>> GgufWriter::Create(const std::string& path,
                                                       const GgufMetadataWriter& metadata,
                                                       std::span<const GgufTensorSpec> tensors) {
  std::unique_ptr<GgufWriter> writer(new GgufWriter());
  writer->path_ = path;
  writer->partial_path_ = path + ".partial";
  std::string header = "GGUF";
  Put(uint32_t{3}, header);
  Put(uint64_t{tensors.size()}, header);
  Put(metadata.count(), header);
  header += metadata.bytes();
  for (const GgufTensorSpec& spec : tensors) {
    OCTAVO_ASSIGN_OR_RETURN(const uint64_t bytes, BytesOf(spec));
    const int rank = spec.shape.rank();
    PutString(spec.name, header);
    Put(static_cast<uint32_t>(rank), header);
    for (int i = rank; i-- > 0;) Put(static_cast<uint64_t>(spec.shape[i]), header);
    Put(static_cast<uint32_t>(spec.type), header);
    Put(writer->data_bytes_, header);
    writer->places_.push_back({writer->data_bytes_, bytes});
    writer->data_bytes_ = RoundUp(writer->data_bytes_ + bytes);
  }
  header.resize(RoundUp(header.size()));
  writer->data_start_ = header.size();
  writer->fd_ = ::open(writer->partial_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (writer->fd_ < 0) return ErrnoStatus(writer->partial_path_, "open");
  if (::flock(writer->fd_, LOCK_EX | LOCK_NB) != 0) {
    ::close(writer->fd_);
    writer->fd_ = -1;
    return FailedPrecondition(
        fmt::format("{}: another run is writing this file", writer->partial_path_));
  }
  // Room for everything now: a full disk is found before the work.
  const auto size = static_cast<off_t>(writer->data_start_ + writer->data_bytes_);
  if (::ftruncate(writer->fd_, 0) != 0) return ErrnoStatus(writer->partial_path_, "truncate");
  if (const int error = ::posix_fallocate(writer->fd_, 0, size); error != 0) {
    errno = error;
    return ErrnoStatus(writer->partial_path_, "allocate");
  }
  if (::pwrite(writer->fd_, header.data(), header.size(), 0) != static_cast<ssize_t>(header.size())) {
    return ErrnoStatus(writer->partial_path_, "write");
  }
  return writer;
}

GgufWriter::~GgufWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!finished_) ::unlink(partial_path_.c_str());
}

Status GgufWriter::WriteAt(size_t index, uint64_t offset, std::span<const std::byte> data) {
  const Place& place = places_.at(index);
  if (offset > place.bytes || data.size() > place.bytes - offset) {
    return InvalidArgument(fmt::format("{}: tensor {}: bytes [{}, {} + {}) of {}", path_, index, offset,
                                       offset, data.size(), place.bytes));
  }
  uint64_t at = data_start_ + place.offset + offset;
  while (!data.empty()) {
    const ssize_t written = ::pwrite(fd_, data.data(), data.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(partial_path_, "write");
    data = data.subspan(static_cast<size_t>(written));
    at += static_cast<uint64_t>(written);
  }
  return Status::Ok();
}

Status GgufWriter::Finish() {
  if (::fsync(fd_) != 0) return ErrnoStatus(partial_path_, "sync");
  if (::rename(partial_path_.c_str(), path_.c_str()) != 0) return ErrnoStatus(path_, "rename");
  finished_ = true;
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  return SyncFolder(folder.empty() ? "." : folder.string());
}

}  // namespace octavo
