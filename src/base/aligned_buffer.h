// SPDX-License-Identifier: Apache-2.0
// Owners of raw memory: 64-byte aligned for everyday tensors, 2 MiB huge pages for weights and KV.
//
// Neither throws nor aborts: running out of memory is a ResourceExhausted status.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "octavo/status.h"

namespace octavo {

// Heap memory aligned to a cache line (and to an AVX-512 register). Contents start undefined.
// Move-only; a moved-from or default buffer is empty.
class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  // `bytes` may be 0 (an empty buffer with data() == nullptr).
  static Result<AlignedBuffer> Allocate(size_t bytes);

  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer&& other) noexcept { *this = std::move(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

  template <typename T>
  T* As() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* As() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Anonymous zeroed memory on 2 MiB pages (MADV_HUGEPAGE). Allocate() touches no page: each page lands
// on the NUMA node of the thread that writes it first, and costs no RSS before.
//
// Buffers below kShared lie one behind the other in mappings of that size, so that a model's many
// matrices do not each round up to whole huge pages; what a dead one held goes back to the system at
// once, its address range when the last buffer of its mapping dies.
class HugeBuffer {
 public:
  static constexpr size_t kPage = size_t{2} << 20;
  static constexpr size_t kAlignment = 4096;
  static constexpr size_t kShared = size_t{128} << 20;

  // size() is as asked. May be 0. Thread-safe.
  static Result<HugeBuffer> Allocate(size_t bytes);

  HugeBuffer() = default;
  HugeBuffer(HugeBuffer&& other) noexcept { *this = std::move(other); }
  HugeBuffer& operator=(HugeBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapping_, other.mapping_);
    return *this;
  }
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;
  ~HugeBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  class Mapping;

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::shared_ptr<Mapping> mapping_;
};

}  // namespace octavo
