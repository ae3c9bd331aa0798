// SPDX-License-Identifier: Apache-2.0
// Rewrites of a layer's weights that keep its function: channels that trade scale, clipped groups.
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

// What is done to the modules of one layer before they are rounded, by module or tensor name.
struct LayerTransform {
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

// Applies row scale, column scale and, with `clipped`, limits to `count` rows of a module from
// row_begin on, [count, k], in place.
void TransformRows(const LayerTransform& transform, const std::string& module, int64_t k,
                   int64_t row_begin, int64_t count, bool clipped, float* rows);

}  // namespace octavo
