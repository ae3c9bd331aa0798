// SPDX-License-Identifier: Apache-2.0
// Weights that kernels see as plain floats although the file stores codes: forms whose codes no kernel
// multiplies, and expansion on request (`--lm-head-dtype bf16`, expanding a GGUF).
#pragma once

#include <memory>

#include "schemes/weight_source.h"

namespace octavo {

// A source whose kernels get its dequantized values, in spec().code (kF32 or kBf16).
// Subclasses implement DequantizeRows, which ReadRows calls.
class FloatSource : public WeightSource {
 public:
  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const final;
  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override = 0;

 protected:
  // Sets spec() to [n, k] floats that hold values of `type` (F32, F16 or BF16), and the activation that
  // goes with them: half floats do not fit bf16, so they are widened and their products run in f32.
  void SetFloatSpec(DType type, int64_t n, int64_t k);
};

// `source` as plain bf16 rows, its dequantized values rounded to nearest even. A source that is bf16
// already comes back unchanged.
std::unique_ptr<WeightSource> MakeBf16Source(std::unique_ptr<WeightSource> source);

}  // namespace octavo
