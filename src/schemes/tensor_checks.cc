// SPDX-License-Identifier: Apache-2.0
// Error texts for stored tensors.
#include "schemes/tensor_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace octavo {
namespace {

std::string Where(const StoredTensor& tensor) {
  return fmt::format("{}: tensor '{}'", tensor.file->path(), tensor.name);
}

}  // namespace

Result<const StoredTensor*> FindTensor(const Checkpoint& checkpoint, const std::string& name) {
  if (const StoredTensor* tensor = checkpoint.Find(name)) return tensor;
  return NotFound(fmt::format("{}: no tensor '{}'", checkpoint.path(), name));
}

Status CheckTensor(const StoredTensor& tensor, std::initializer_list<DType> dtypes,
                   const std::optional<Shape>& shape) {
  const bool known = std::find(dtypes.begin(), dtypes.end(), tensor.dtype) != dtypes.end();
  if (!known || tensor.ggml_type) {
    std::string want;
    for (const DType dtype : dtypes) {
      want += fmt::format("{}{}", want.empty() ? "" : " or ", NameOf(dtype));
    }
    return DataLoss(fmt::format(
        "{}: type {}, want {}", Where(tensor),
        tensor.ggml_type ? InfoOf(*tensor.ggml_type).name : NameOf(tensor.dtype), want));
  }
  return shape ? CheckShape(tensor, {*shape}) : Status::Ok();
}

Status CheckShape(const StoredTensor& tensor, const std::vector<Shape>& shapes) {
  if (std::find(shapes.begin(), shapes.end(), tensor.shape) != shapes.end()) return Status::Ok();
  return DataLoss(fmt::format("{}: shape {}, want {}", Where(tensor), tensor.shape.ToString(),
                              shapes.front().ToString()));
}

Status CheckFinite(const StoredTensor& tensor, int64_t row_begin, int64_t cols,
                   const std::vector<float>& values) {
  const auto bad = [](float value) { return !std::isfinite(value); };
  const auto at = std::find_if(values.begin(), values.end(), bad);
  if (at == values.end()) return Status::Ok();
  const int64_t index = at - values.begin();
  return BadValue(tensor, row_begin + index / cols, index % cols,
                  fmt::format("is {}, want a finite number", *at));
}

Status BadValue(const StoredTensor& tensor, int64_t row, int64_t col, const std::string& problem) {
  return DataLoss(fmt::format("{}: row {} column {} {}", Where(tensor), row, col, problem));
}

}  // namespace octavo
