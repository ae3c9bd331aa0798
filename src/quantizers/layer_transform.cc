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

void TransformRows(const LayerTransform& transform, const std::string& module, int64_t k,
                   int64_t row_begin, int64_t count, bool clipped, float* rows) {
  const auto row_scale = transform.row_scale.find(module);
  const std::vector<float>* columns = transform.ColumnScale(module);
  const auto clip = transform.clip.find(module);
  for (int64_t row = 0; row < count; ++row) {
    float* values = rows + row * k;
    if (row_scale != transform.row_scale.end()) {
      const float scale = row_scale->second[static_cast<size_t>(row_begin + row)];
      for (int64_t i = 0; i < k; ++i) values[i] /= scale;
    }
    if (columns != nullptr) {
      for (int64_t i = 0; i < k; ++i) values[i] *= (*columns)[static_cast<size_t>(i)];
    }
    if (clipped && clip != transform.clip.end()) ClipRow(clip->second, row_begin + row, k, values);
  }
}

}  // namespace octavo
