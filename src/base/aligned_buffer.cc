// SPDX-License-Identifier: Apache-2.0
// aligned_alloc and mmap behind move-only owners.
#include "base/aligned_buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <mutex>

namespace octavo {
namespace {

Status OutOfMemory(size_t bytes) {
  return ResourceExhausted(fmt::format("out of memory: cannot allocate {} bytes", bytes));
}

// `bytes` rounded up to a multiple of the power of two `alignment`; 0 when that overflows.
size_t RoundUp(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

constexpr size_t kMaxBytes = std::numeric_limits<size_t>::max() / 4;

}  // namespace

Result<AlignedBuffer> AlignedBuffer::Allocate(size_t bytes) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  if (bytes > kMaxBytes) return OutOfMemory(bytes);
  buffer.data_ =
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, RoundUp(bytes, kAlignment)));
  if (buffer.data_ == nullptr) return OutOfMemory(bytes);
  buffer.size_ = bytes;
  return buffer;
}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

// Address space of which each buffer takes the next piece.
class HugeBuffer::Mapping {
 public:
  static std::shared_ptr<Mapping> Create(size_t bytes) {
    // mmap aligns to 4 KiB only: take one huge page more and give back both ends.
    void* raw = ::mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return nullptr;
    auto* start = static_cast<std::byte*>(raw);
    const size_t head = (kPage - reinterpret_cast<uintptr_t>(start) % kPage) % kPage;
    if (head > 0) ::munmap(start, head);
    ::munmap(start + head + bytes, kPage - head);
    ::madvise(start + head, bytes, MADV_HUGEPAGE);  // A hint: kernels without THP refuse it.
    return std::shared_ptr<Mapping>(new Mapping(start + head, bytes));
  }
  ~Mapping() { ::munmap(start_, bytes_); }

  // nullptr when there is no room left. Not thread-safe.
  std::byte* Take(size_t bytes) {
    if (bytes > bytes_ - used_) return nullptr;
    std::byte* piece = start_ + used_;
    used_ += bytes;
    return piece;
  }

 private:
  Mapping(std::byte* start, size_t bytes) : start_(start), bytes_(bytes) {}
  std::byte* const start_;
  const size_t bytes_;
  size_t used_ = 0;
};

Result<HugeBuffer> HugeBuffer::Allocate(size_t bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Mapping> shared;
  HugeBuffer buffer;
  if (bytes == 0) return buffer;
  if (bytes > kMaxBytes) return OutOfMemory(bytes);
  const size_t piece = RoundUp(bytes, kAlignment);
  if (piece >= kShared) {
    buffer.mapping_ = Mapping::Create(RoundUp(piece, kPage));
    if (buffer.mapping_ == nullptr) return OutOfMemory(bytes);
    buffer.data_ = buffer.mapping_->Take(piece);
  } else {
    const std::lock_guard lock(mutex);
    buffer.mapping_ = shared.lock();
    if (buffer.mapping_ != nullptr) buffer.data_ = buffer.mapping_->Take(piece);
    if (buffer.data_ == nullptr) {
      buffer.mapping_ = Mapping::Create(kShared);
      if (buffer.mapping_ == nullptr) return OutOfMemory(bytes);
      buffer.data_ = buffer.mapping_->Take(piece);
      shared = buffer.mapping_;
    }
  }
  buffer.size_ = bytes;
  return buffer;
}

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) ::madvise(data_, RoundUp(size_, kAlignment), MADV_DONTNEED);
}

}  // namespace octavo
