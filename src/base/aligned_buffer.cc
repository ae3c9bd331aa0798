// SPDX-License-Identifier: Apache-2.0
// aligned_alloc and mmap behind move-only owners.
#include "base/aligned_buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <limits>

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

Result<HugeBuffer> HugeBuffer::Allocate(size_t bytes) {
  HugeBuffer buffer;
  if (bytes == 0) return buffer;
  if (bytes > kMaxBytes) return OutOfMemory(bytes);
  const size_t mapped = RoundUp(bytes, kAlignment);
  // mmap aligns to 4 KiB only: take one huge page more and give back both ends.
  void* raw = ::mmap(nullptr, mapped + kAlignment, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return OutOfMemory(bytes);
  auto* start = static_cast<std::byte*>(raw);
  const size_t head = (kAlignment - reinterpret_cast<uintptr_t>(start) % kAlignment) % kAlignment;
  if (head > 0) ::munmap(start, head);
  ::munmap(start + head + mapped, kAlignment - head);
  ::madvise(start + head, mapped, MADV_HUGEPAGE);  // A hint: kernels without THP refuse it.
  buffer.data_ = start + head;
  buffer.size_ = bytes;
  return buffer;
}

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) ::munmap(data_, RoundUp(size_, kAlignment));
}

}  // namespace octavo
