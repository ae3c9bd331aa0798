// SPDX-License-Identifier: Apache-2.0
// Gathers embedding rows straight from the checkpoint.
#include "layers/embedding.h"

#include <fmt/format.h>

#include <vector>

namespace octavo {

Result<Embedding> Embedding::Load(std::shared_ptr<const Checkpoint> checkpoint,
                                  const std::string& name, int64_t rows, int64_t cols) {
  const StoredTensor* tensor = checkpoint->Find(name);
  if (tensor == nullptr) {
    return NotFound(fmt::format("tensor '{}' is missing", name));
  }
  if (tensor->shape != Shape{rows, cols}) {
    return DataLoss(fmt::format("tensor '{}' has shape {}, want [{}, {}]", name,
                                tensor->shape.ToString(), rows, cols));
  }
  return Embedding(std::move(checkpoint), tensor, rows, cols);
}

Status Embedding::Gather(std::span<const int32_t> ids, ArenaMatrix out, bool accumulate) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= rows_) {
      return InvalidArgument(fmt::format("'{}': row {} does not exist, want 0 to {}",
                                         tensor_->name, id, rows_ - 1));
    }
  }
  std::vector<float> sum(accumulate ? static_cast<size_t>(cols_) : 0);
  for (size_t i = 0; i < ids.size(); ++i) {
    float* row = out.Row(static_cast<int64_t>(i));
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_->ReadRowsF32(*tensor_, ids[i], 1, accumulate ? sum.data() : row));
    for (size_t j = 0; j < sum.size(); ++j) row[j] += sum[j];
  }
  return Status::Ok();
}

}  // namespace octavo
