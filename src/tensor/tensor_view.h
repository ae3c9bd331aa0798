// SPDX-License-Identifier: Apache-2.0
// Non-owning, read-only view of a contiguous tensor whose element type is known only at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/check.h"
#include "octavo/dtype.h"
#include "tensor/shape.h"

namespace octavo {

// The dtype stored as a T in memory: bf16, f16 and fp8 as their bit patterns. Sub-byte types have
// none.
template <typename T>
constexpr bool IsStorageOf(DType dtype) {
  using enum DType;
  if constexpr (std::is_same_v<T, uint8_t>) {
    return dtype == kU8 || dtype == kBool || dtype == kF8E4M3 || dtype == kF8E5M2 ||
           dtype == kF8E8M0 || dtype == kF8E4M3Fnuz || dtype == kF8E5M2Fnuz;
  } else if constexpr (std::is_same_v<T, uint16_t>) {
    return dtype == kBF16 || dtype == kF16 || dtype == kU16;
  } else {
    return (std::is_same_v<T, float> && dtype == kF32) ||
           (std::is_same_v<T, double> && dtype == kF64) ||
           (std::is_same_v<T, int8_t> && dtype == kI8) ||
           (std::is_same_v<T, int16_t> && dtype == kI16) ||
           (std::is_same_v<T, int32_t> && dtype == kI32) ||
           (std::is_same_v<T, uint32_t> && dtype == kU32) ||
           (std::is_same_v<T, int64_t> && dtype == kI64) ||
           (std::is_same_v<T, uint64_t> && dtype == kU64);
  }
}

// Row-major and contiguous. The memory belongs to someone else (a Tensor, a file mapping) and must
// outlive the view. Data from a file mapping need not be aligned to its element; use As<T>() only
// on aligned data and Bytes() otherwise.
class TensorView {
 public:
  TensorView() = default;
  TensorView(const std::byte* data, DType dtype, const Shape& shape)
      : data_(data), dtype_(dtype), shape_(shape) {}

  const std::byte* data() const { return data_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t NumElements() const { return shape_.NumElements(); }
  size_t SizeBytes() const {
    return static_cast<size_t>(BytesOf(dtype_, static_cast<uint64_t>(NumElements())).value_or(0));
  }
  std::span<const std::byte> Bytes() const { return {data_, SizeBytes()}; }

  // All elements, [NumElements()], as T; CHECK fails when T does not store dtype() or data() is not
  // aligned for T.
  template <typename T>
  std::span<const T> As() const {
    OCTAVO_CHECK(IsStorageOf<T>(dtype_));
    OCTAVO_CHECK(reinterpret_cast<uintptr_t>(data_) % alignof(T) == 0);
    return {reinterpret_cast<const T*>(data_), static_cast<size_t>(NumElements())};
  }

  // Row `i` of the matrix form (Shape::rows, Shape::cols). Requires whole-byte rows.
  TensorView Row(int64_t i) const {
    OCTAVO_DCHECK(i >= 0 && i < shape_.rows());
    const size_t row_bytes =
        static_cast<size_t>(BytesOf(dtype_, static_cast<uint64_t>(shape_.cols())).value_or(0));
    return {data_ + static_cast<size_t>(i) * row_bytes, dtype_, Shape{shape_.cols()}};
  }

 private:
  const std::byte* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Shape shape_ = Shape{0};
};

}  // namespace octavo
