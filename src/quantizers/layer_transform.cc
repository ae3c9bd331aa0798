// SPDX-License-Identifier: Apache-2.0
// Reads original rows and rewrites them.
#include "quantizers/layer_transform.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/quantize/quantize.h"

namespace octavo {
namespace {

void ClipRow(const WeightClip& clip, int64_t row, int64_t k, float* values) {
  const int64_t groups = k / clip.group_size;
  for (int64_t group = 0; group < groups; ++group) {
    const float limit = clip.limits[static_cast<size_t>(row * groups + group)];
    float* begin = values + group * clip.group_size;
    for (int64_t i = 0; i < clip.group_size; ++i) begin[i] = std::clamp(begin[i], -limit, limit);
  }
}

}  // namespace

const std::vector<float>* LayerTransform::ColumnScale(const std::string& module) const {
  const auto it = column_scale.find(module);
  return it == column_scale.end() ? nullptr : &it->second;
}

DType WrittenType(const Checkpoint& checkpoint, const StoredTensor& tensor) {
  return checkpoint.is_gguf() ? DType::kBF16 : tensor.dtype;
}

Status ReadOriginalRows(const Checkpoint& checkpoint, const StoredTensor& tensor, int64_t row_begin,
                        int64_t count, float* out) {
  if (!checkpoint.is_gguf() && tensor.dtype != DType::kBF16) {
    return checkpoint.ReadRowsF32(tensor, row_begin, count, out);
  }
  std::vector<uint16_t> halves(static_cast<size_t>(count * tensor.cols()));
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadRowsBf16(tensor, row_begin, count, halves.data()));
  ActiveQuantizeOps().widen_bf16(halves.data(), static_cast<int64_t>(halves.size()), out);
  return Status::Ok();
}

Result<std::vector<float>> ReadOriginal(const Checkpoint& checkpoint, const std::string& tensor) {
  const StoredTensor* stored = checkpoint.Find(tensor);
  if (stored == nullptr) return NotFound(fmt::format("tensor '{}' is missing", tensor));
  std::vector<float> values(static_cast<size_t>(stored->shape.NumElements()));
  OCTAVO_RETURN_IF_ERROR(
      ReadOriginalRows(checkpoint, *stored, 0, stored->rows(), values.data()));
  return values;
}

Result<std::vector<float>> CurrentVector(const Checkpoint& checkpoint, const LayerTransform& transform,
                                         const std::string& tensor) {
  const auto it = transform.dense.find(tensor);
  if (it != transform.dense.end()) return it->second;
  return ReadOriginal(checkpoint, tensor);
}

Status TransformedModule::ReadInOrder(int64_t row_begin, int64_t count, float* out) const {
  const int64_t k = tensor_.cols();
  const auto rows = transform_.row_order.find(module_);
  if (rows == transform_.row_order.end()) {
    OCTAVO_RETURN_IF_ERROR(ReadOriginalRows(checkpoint_, tensor_, row_begin, count, out));
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = rows->second[static_cast<size_t>(row_begin + i)];
      OCTAVO_RETURN_IF_ERROR(ReadOriginalRows(checkpoint_, tensor_, row, 1, out + i * k));
    }
  }
  const auto columns = transform_.column_order.find(module_);
  if (columns == transform_.column_order.end()) return Status::Ok();
  std::vector<float> row(static_cast<size_t>(k));
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(out + i * k, k, row.data());
    for (int64_t j = 0; j < k; ++j) {
      out[i * k + j] = row[static_cast<size_t>(columns->second[static_cast<size_t>(j)])];
    }
  }
  return Status::Ok();
}

Status TransformedModule::Read(int64_t row_begin, int64_t count, RowStage stage, float* out) const {
  OCTAVO_RETURN_IF_ERROR(ReadInOrder(row_begin, count, out));
  const int64_t k = tensor_.cols();
  const auto row_scale = transform_.row_scale.find(module_);
  const std::vector<float>* columns =
      stage == RowStage::kOutputs ? nullptr : transform_.ColumnScale(module_);
  for (int64_t row = 0; row < count; ++row) {
    float* values = out + row * k;
    if (row_scale != transform_.row_scale.end()) {
      const float scale = row_scale->second[static_cast<size_t>(row_begin + row)];
      for (int64_t i = 0; i < k; ++i) values[i] /= scale;
    }
    if (columns == nullptr) continue;
    for (int64_t i = 0; i < k; ++i) values[i] *= (*columns)[static_cast<size_t>(i)];
  }
  if (stage == RowStage::kClipped) Clip(row_begin, count, out);
  return Status::Ok();
}

void TransformedModule::Clip(int64_t row_begin, int64_t count, float* rows) const {
  const auto clip = transform_.clip.find(module_);
  if (clip == transform_.clip.end()) return;
  const int64_t k = tensor_.cols();
  for (int64_t row = 0; row < count; ++row) ClipRow(clip->second, row_begin + row, k, rows + row * k);
}

}  // namespace octavo
