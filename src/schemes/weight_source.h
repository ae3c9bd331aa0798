// SPDX-License-Identifier: Apache-2.0
// A weight matrix that can be read row by row in its own bits, wherever it comes from.
//
//   checkpoint (bf16, compressed-tensors, GGUF, ...) --WeightSource--> WeightRows --GemmKernel::pack--> panels
//
// Kernels pack from a source in parallel; nothing ever holds a second copy of a tensor, and reading
// adds no mapped pages to the resident set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/activation.h"
#include "kernels/gemm/outlier_product.h"
#include "kernels/weight_spec.h"
#include "octavo/dtype.h"
#include "octavo/status.h"

namespace octavo {

// What a source is, beside its numbers: for `inspect`, logs and the choice of kernels.
struct WeightInfo {
  std::string name;            // the tensor as in the checkpoint, "model.layers.0.mlp.down_proj.weight"
  std::string_view scheme;     // "W4A16", "GGUF Q4_K", "dense"
  ActivationFormat activation = ActivationFormat::kBf16;  // what the linear runs with by default
  float outlier_threshold = 0;  // LLM.int8(): activations from here on are multiplied in 16 bit; 0: none
  // The calibrated scale of its activations (one per tensor); 0: every token has its own.
  float input_scale = 0;
  uint64_t stored_bytes = 0;   // codes, scales and zero points in the file
  // Dequantized values are rounded to this type: that of the scales, as compressed-tensors computes
  // `codes.to(scale.dtype) * scale`. F32 for dense and GGUF weights, whose values are exact in f32.
  DType dequantized = DType::kF32;
  std::string note;  // where the run differs from what the checkpoint asks for; empty if it does not
};

// Immutable; const members are safe from any thread. The Checkpoint must outlive it.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  WeightSource(const WeightSource&) = delete;
  WeightSource& operator=(const WeightSource&) = delete;

  // n = out features (rows), k = in features.
  const WeightSpec& spec() const { return spec_; }
  const WeightInfo& info() const { return info_; }
  double bits_per_weight() const {
    const double elements = static_cast<double>(spec_.n) * static_cast<double>(spec_.k);
    return elements == 0 ? 0 : 8.0 * static_cast<double>(info_.stored_bytes) / elements;
  }

  // Decodes rows [row_begin, row_begin + count) into `rows`, which is resized and keeps its memory
  // between calls. Every code fits spec().bits and every scale is finite.
  // Errors: InvalidArgument for rows out of range; IoError and DataLoss with the tensor and the row.
  virtual Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const = 0;

  // The same rows as values, [count, k], bit-equal to compressed-tensors' (ggml's, for GGUF)
  // dequantization: see WeightInfo::dequantized.
  virtual Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const;

  // Columns that the checkpoint keeps in 16 bit for outliers to meet; usually none.
  virtual Result<KeptColumns> ReadKeptColumns() const { return KeptColumns(); }

 protected:
  WeightSource() = default;
  Status CheckRange(int64_t row_begin, int64_t count) const;

  WeightSpec spec_;
  WeightInfo info_;
};

// Values of decoded rows, [rows.count, spec.k]: code * scale + min in f32, then rounded to `type`
// (F32, BF16 or F16).
void DequantizeWeightRows(const WeightSpec& spec, const WeightRows& rows, DType type, float* out);

// Rounds to F32 (unchanged), BF16 or F16, to nearest even.
float RoundToDType(DType type, float value);

// The bytes of such values as a tensor of `type` stores them, rounded the same way.
std::vector<std::byte> EncodeFloats(DType type, std::span<const float> values);

// "int4 group 128 + min, f32 scales": the spec for people.
std::string Describe(const WeightSpec& spec);

}  // namespace octavo
