// SPDX-License-Identifier: Apache-2.0
// Row arithmetic of stored tensors.
#include "io/stored_tensor.h"

namespace octavo {

uint64_t StoredTensor::RowBytes() const {
  const auto count = static_cast<uint64_t>(cols());
  const auto row_bytes = ggml_type ? GgmlRowBytes(*ggml_type, count) : BytesOf(dtype, count);
  return row_bytes.value_or(0);
}

int64_t StoredTensor::StoredRow(int64_t row) const {
  if (interleaved_heads == 0) return row;
  // Hugging Face keeps the first halves of all pairs, then the second halves; GGUF pairs them up.
  const int64_t head_dim = rows() / interleaved_heads;
  const int64_t in_head = row % head_dim;
  const int64_t half = in_head / (head_dim / 2);
  return row - in_head + 2 * (in_head % (head_dim / 2)) + half;
}

}  // namespace octavo
