// SPDX-License-Identifier: Apache-2.0
// Rewrites of a layer's weights that keep its function: channels that trade scale or places, clipped
// groups.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/checkpoint.h"
#include "octavo/status.h"

namespace octavo {

// Limits of |w| per row and group, after the columns are scaled.
struct WeightClip {
  int64_t group_size = 0;
  std::vector<float> limits;  // [n, k / group_size]
};

// What is done to the modules of one layer before they are rounded, by module or tensor name. Orders
// come first: scales and limits belong to the new places.
struct LayerTransform {
  // new place -> old one, of a module's rows [n] and columns [k]
  std::unordered_map<std::string, std::vector<int32_t>> row_order;
  std::unordered_map<std::string, std::vector<int32_t>> column_order;
  std::unordered_map<std::string, std::vector<float>> column_scale;  // [k]: w[:, j] *= scale[j]
  std::unordered_map<std::string, std::vector<float>> row_scale;     // [n]: w[i, :] /= scale[i]
  std::unordered_map<std::string, WeightClip> clip;
  // New values of norms, biases and routers, exact in the type they are stored in.
  std::unordered_map<std::string, std::vector<float>> dense;

  // nullptr when the module keeps its columns.
  const std::vector<float>* ColumnScale(const std::string& module) const;
};

// The type in which a copied tensor is written: its own, bf16 from a GGUF.
DType WrittenType(const Checkpoint& checkpoint, const StoredTensor& tensor);

// Rows of a tensor as the 16-bit original has them (a GGUF's rounded to bf16).
Status ReadOriginalRows(const Checkpoint& checkpoint, const StoredTensor& tensor, int64_t row_begin,
                        int64_t count, float* out);

// A vector (or a whole small matrix) the same way. Errors: NotFound.
Result<std::vector<float>> ReadOriginal(const Checkpoint& checkpoint, const std::string& tensor);

// A norm, bias or router as it is after the transform so far. Errors: NotFound.
Result<std::vector<float>> CurrentVector(const Checkpoint& checkpoint, const LayerTransform& transform,
                                         const std::string& tensor);

// How much of a transform to apply.
enum class RowStage {
  kOutputs,  // orders and row scales: what the module's output is measured against
  kScaled,   // and column scales
  kClipped,  // and limits
};

// One module's weight under a transform, read in blocks of rows. Refers to its arguments.
class TransformedModule {
 public:
  TransformedModule(const Checkpoint& checkpoint, const LayerTransform& transform,
                    const std::string& module, const StoredTensor& tensor)
      : checkpoint_(checkpoint), transform_(transform), module_(module), tensor_(tensor) {}

  // Rows [row_begin, row_begin + count) of the transformed matrix into `out` [count, k].
  Status Read(int64_t row_begin, int64_t count, RowStage stage, float* out) const;

  // Applies the limits to rows read as kScaled.
  void Clip(int64_t row_begin, int64_t count, float* rows) const;
  bool clips() const { return transform_.clip.contains(module_); }

 private:
  Status ReadInOrder(int64_t row_begin, int64_t count, float* out) const;

  const Checkpoint& checkpoint_;
  const LayerTransform& transform_;
  const std::string& module_;
  const StoredTensor& tensor_;
};

}  // namespace octavo
