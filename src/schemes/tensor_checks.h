// SPDX-License-Identifier: Apache-2.0
// Checks of stored tensors with errors that say file, tensor, what was found and what is wanted.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "octavo/dtype.h"
#include "octavo/status.h"

namespace octavo {

// NotFound naming the checkpoint and the tensor.
Result<const StoredTensor*> FindTensor(const Checkpoint& checkpoint, const std::string& name);

// DataLoss unless the tensor has one of the dtypes (and no ggml type) and, if given, the shape.
Status CheckTensor(const StoredTensor& tensor, std::initializer_list<DType> dtypes,
                   const std::optional<Shape>& shape);

// DataLoss unless the tensor has one of the shapes; the message wants the first.
Status CheckShape(const StoredTensor& tensor, const std::vector<Shape>& shapes);

// DataLoss for the first value that is NaN or infinite; `values` is [rows, cols] from row_begin on.
Status CheckFinite(const StoredTensor& tensor, int64_t row_begin, int64_t cols,
                   const std::vector<float>& values);

// "FILE: tensor 'NAME': row R column C PROBLEM".
Status BadValue(const StoredTensor& tensor, int64_t row, int64_t col, const std::string& problem);

}  // namespace octavo
