// SPDX-License-Identifier: Apache-2.0
// Allocation of owned tensors.
#include "tensor/tensor.h"

#include <fmt/format.h>

#include <cstring>

namespace octavo {

Result<Tensor> Tensor::Allocate(DType dtype, const Shape& shape) {
  const std::optional<int64_t> count = shape.CheckedNumElements();
  const std::optional<uint64_t> bytes =
      count ? BytesOf(dtype, static_cast<uint64_t>(*count)) : std::nullopt;
  if (!bytes) {
    return InvalidArgument(fmt::format("tensor {} {} overflows or ends inside a byte",
                                       NameOf(dtype), shape.ToString()));
  }
  Tensor tensor;
  OCTAVO_ASSIGN_OR_RETURN(tensor.buffer_, AlignedBuffer::Allocate(*bytes));
  tensor.dtype_ = dtype;
  tensor.shape_ = shape;
  return tensor;
}

Result<Tensor> Tensor::Zeros(DType dtype, const Shape& shape) {
  OCTAVO_ASSIGN_OR_RETURN(Tensor tensor, Allocate(dtype, shape));
  if (tensor.SizeBytes() > 0) std::memset(tensor.data(), 0, tensor.SizeBytes());
  return tensor;
}

}  // namespace octavo
