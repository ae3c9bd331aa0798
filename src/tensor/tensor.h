// SPDX-License-Identifier: Apache-2.0
// Owner of a contiguous tensor in 64-byte aligned memory.
#pragma once

#include <span>

#include "base/aligned_buffer.h"
#include "octavo/dtype.h"
#include "octavo/status.h"
#include "tensor/shape.h"
#include "tensor/tensor_view.h"

namespace octavo {

// Move-only. Contents start undefined (Allocate) or zero (Zeros).
class Tensor {
 public:
  // Errors: InvalidArgument when the element count overflows or does not end on a byte,
  // ResourceExhausted when there is no memory.
  static Result<Tensor> Allocate(DType dtype, const Shape& shape);
  static Result<Tensor> Zeros(DType dtype, const Shape& shape);

  Tensor() = default;

  std::byte* data() { return buffer_.data(); }
  const std::byte* data() const { return buffer_.data(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t NumElements() const { return shape_.NumElements(); }
  size_t SizeBytes() const { return buffer_.size(); }
  TensorView view() const { return {buffer_.data(), dtype_, shape_}; }

  // All elements as T; CHECK fails when T does not store dtype().
  template <typename T>
  std::span<T> As() {
    OCTAVO_CHECK(IsStorageOf<T>(dtype_));
    return {buffer_.As<T>(), static_cast<size_t>(NumElements())};
  }
  template <typename T>
  std::span<const T> As() const {
    return view().As<T>();
  }

 private:
  AlignedBuffer buffer_;
  DType dtype_ = DType::kF32;
  Shape shape_ = Shape{0};
};

}  // namespace octavo
