// SPDX-License-Identifier: Apache-2.0
// The activation contract: what a linear layer eats, and what norm, SiLU*mul and attention produce.
//
// A scheme names the format it wants; the producing op quantizes each row once, while it is still in
// cache, and every linear that shares the input (q/k/v, gate/up) reads the same rows. All quantities
// are per row (token), so a token's numbers never depend on its batch (docs/numerics.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/weight_spec.h"
#include "octavo/status.h"

namespace octavo {

enum class ActivationFormat : uint8_t {
  kF32,         // float
  kBf16,        // bfloat16, rounded to nearest even
  kInt8,        // int8 with one f32 scale per token: scale = max(amax, tiny) / 127, q = rne(x / scale)
  kFp8,         // FP8 E4M3 values (x * (448 / amax), saturated) held as bfloat16, one f32 scale per token
  kFp8Group128  // as kFp8 with one scale per token and 128 columns (FP8_BLOCK)
};

// A format plus the sums a kernel needs beside the data.
struct ActivationSpec {
  ActivationFormat format = ActivationFormat::kF32;
  int sum_group = 0;  // group_sums over this many columns; 0: none. Divides the row length.

  bool operator==(const ActivationSpec&) const = default;
};

// The activation that multiplying by `weight` with activations of `format` takes: the sums follow
// from the weight's zero points.
inline ActivationSpec RequiredActivation(const WeightSpec& weight, ActivationFormat format) {
  const bool sums = weight.has_min || weight.scales == ScaleLayout::kTwoLevel;
  return {format, sums ? (weight.group_size == 0 ? static_cast<int>(weight.k) : weight.group_size) : 0};
}

// Rows of activations; a view into an ActivationBuffer. Rows are row_stride elements apart; each row
// is followed by at least 64 readable bytes. Pointers that the format does not use are null.
struct ActivationView {
  ActivationSpec spec;
  int64_t rows = 0;
  int64_t cols = 0;        // k
  int64_t row_stride = 0;  // elements; a multiple of 64 bytes, never a multiple of 4096 bytes
  const void* data = nullptr;           // float, uint16_t (bf16 bits) or int8_t
  const float* scales = nullptr;        // [rows] (kFp8Group128: [rows][ceil(cols / 128)])
  const int32_t* row_sums = nullptr;    // [rows], kInt8: sum of q over the row
  const int32_t* group_sums = nullptr;  // [rows][cols / sum_group], kInt8: exact sums of q
  const float* group_sums_f32 = nullptr;  // the same for kF32, kBf16, kFp8: one ascending f32 chain

  template <typename T>
  const T* Row(int64_t row) const {
    return static_cast<const T*>(data) + row * row_stride;
  }
  ActivationView Slice(int64_t first, int64_t count) const;
};

// Owns the memory of one activation matrix; sized once, reused every step.
class ActivationBuffer {
 public:
  ActivationBuffer() = default;

  // Makes room for [rows, cols] in `spec`; keeps memory when it is large enough. Never shrinks.
  Status Reserve(const ActivationSpec& spec, int64_t max_rows, int64_t cols);

  // Sets the current number of rows (at most the reserved number).
  void SetRows(int64_t rows) { view_.rows = rows; }

  const ActivationView& view() const { return view_; }
  size_t bytes() const { return bytes_; }

  // Encodes row `row` from `cols` floats: quantizes, and fills scale and sums. Rows may be encoded
  // from several threads at once. The result depends on nothing but x and the spec; all ISA levels
  // give the same bits.
  void EncodeRow(int64_t row, const float* x);

 private:
  struct Free {
    void operator()(void* p) const;
  };
  ActivationView view_;
  std::unique_ptr<std::byte[], Free> memory_;
  size_t bytes_ = 0;
};

}  // namespace octavo
