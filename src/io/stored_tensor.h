// SPDX-License-Identifier: Apache-2.0
// Where one tensor of a model lies on disk, whatever the file format.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "io/ggml_blocks.h"
#include "io/mmap_file.h"
#include "octavo/dtype.h"
#include "tensor/shape.h"

namespace octavo {

// Where a tensor's bytes lie. Rows are those of Shape::rows(): a vector [n] is n rows of 1 element.
struct StoredTensor {
  std::string name;                   // Hugging Face name.
  Shape shape;                        // Hugging Face shape, outermost first.
  DType dtype = DType::kF32;          // Stored type; BF16 (the nominal type) for ggml blocks.
  std::optional<GgmlType> ggml_type;  // Set for ggml block types only, not for plain floats.
  const MmapFile* file = nullptr;     // Lives as long as the Checkpoint.
  uint64_t offset = 0;                // In the file.
  uint64_t bytes = 0;

  // GGUF files of the llama architecture interleave the two halves of each q and k head. Number of
  // heads whose rows are interleaved; 0: rows are stored in Hugging Face order.
  int64_t interleaved_heads = 0;
  // Added to each value: -1 for Gemma's norm weights in GGUF files, which store w + 1.
  float value_offset = 0.0f;

  int64_t rows() const { return shape.rows(); }
  int64_t cols() const { return shape.cols(); }
  // Bytes of one stored row. Rows end on whole bytes, checked when the checkpoint was opened,
  // except for sub-byte dtypes with odd columns, for which this is 0.
  uint64_t RowBytes() const;
  // The stored row that holds row `row`.
  int64_t StoredRow(int64_t row) const;
};

}  // namespace octavo
