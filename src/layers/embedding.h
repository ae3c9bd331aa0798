// SPDX-License-Identifier: Apache-2.0
// Token (and position) embeddings, read row by row from the checkpoint: a step touches a few rows of
// a matrix that can be a fifth of the model, so it is never unpacked.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "io/checkpoint.h"
#include "layers/step.h"

namespace octavo {

class Embedding {
 public:
  // [rows, cols] tensor `name` of `checkpoint`, any float or GGUF block type.
  static Result<Embedding> Load(std::shared_ptr<const Checkpoint> checkpoint,
                                const std::string& name, int64_t rows, int64_t cols);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  // out[i] (+)= row ids[i]. Fails on an id outside [0, rows) before writing anything.
  Status Gather(std::span<const int32_t> ids, ArenaMatrix out, bool accumulate) const;

 private:
  Embedding(std::shared_ptr<const Checkpoint> checkpoint, const StoredTensor* tensor, int64_t rows,
            int64_t cols)
      : checkpoint_(std::move(checkpoint)), tensor_(tensor), rows_(rows), cols_(cols) {}

  std::shared_ptr<const Checkpoint> checkpoint_;
  const StoredTensor* tensor_;
  int64_t rows_;
  int64_t cols_;
};

}  // namespace octavo
