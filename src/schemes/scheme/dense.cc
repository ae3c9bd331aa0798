// SPDX-License-Identifier: Apache-2.0
// Weights in plain floats: F32, F16 or BF16, as they are in the file.
#include <fmt/format.h>

#include <utility>

#include "schemes/scheme.h"
#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

class DenseSource final : public WeightSource {
 public:
  DenseSource(const Checkpoint& checkpoint, const StoredTensor& tensor)
      : checkpoint_(checkpoint), tensor_(tensor) {
    spec_.n = tensor.rows();
    spec_.k = tensor.cols();
    spec_.bits = BitsOf(tensor.dtype);
    info_ = {.name = tensor.name, .scheme = "dense", .stored_bytes = tensor.bytes, .note = {}};
    // Half floats do not fit bf16, so their products run in f32.
    spec_.code = CodeType::kF32;
    info_.activation = ActivationFormat::kF32;
    if (tensor.dtype == DType::kF16) spec_.code = CodeType::kF16;
    if (tensor.dtype == DType::kBF16) {
      spec_.code = CodeType::kBf16;
      info_.activation = ActivationFormat::kBf16;
    }
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    return checkpoint_.ReadRowsBytes(tensor_, row_begin, count, rows.codes.data());
  }

  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    return checkpoint_.ReadRowsF32(tensor_, row_begin, count, out);
  }

 private:
  const Checkpoint& checkpoint_;
  const StoredTensor& tensor_;
};

Result<std::unique_ptr<WeightSource>> Open(const StoredModule& module) {
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* tensor,
                          FindTensor(*module.checkpoint, module.name + ".weight"));
  OCTAVO_RETURN_IF_ERROR(
      CheckTensor(*tensor, {DType::kBF16, DType::kF16, DType::kF32}, std::nullopt));
  if (tensor->shape.rank() != 2 || tensor->value_offset != 0) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want a matrix [out, in]",
                                tensor->file->path(), tensor->name, tensor->shape.ToString()));
  }
  return std::unique_ptr<WeightSource>(std::make_unique<DenseSource>(*module.checkpoint, *tensor));
}

}  // namespace

constinit const Scheme kScheme_dense = {
    .name = "dense",
    .summary = "weights in F32, F16 or BF16",
    .online_name = "",
    .method = "",
    .format = "dense",
    .args = {},
    .open = &Open,
};

}  // namespace octavo
