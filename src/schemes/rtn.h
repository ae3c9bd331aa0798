// SPDX-License-Identifier: Apache-2.0
// Round to nearest with the scales of compressed-tensors: the data-free quantizer of its schemes.
//
//   range      widened to contain 0: lo = min(w, 0), hi = max(w, 0)
//   symmetric  scale = max(|lo|, |hi|) / ((q_max - q_min) / 2): /127.5 int8, /7.5 int4, /448 E4M3
//   asymmetric scale = (hi - lo) / (2^b - 1), zero_point = rne(q_min - lo / scale)
//   codes      q = rne(clamp(w / scale + zero_point, q_min, q_max))
//
// Scales are rounded to the model's dtype before any code is chosen, and a zero scale is replaced by
// that type's epsilon. llm-compressor computes scales and zero points in the model's dtype, rounding
// after every operation, and so do we. Codes take the quotient in f32, which is what its GPU path
// does; on a CPU it rounds the quotient to bf16 first, which moves some codes by one (docs/formats.md).
#pragma once

#include <cstdint>

#include "octavo/status.h"
#include "schemes/scheme.h"

namespace octavo {

// Scheme::quantize for all args of compressed-tensors. With Strategy::kTensor module.absmax is used;
// with kBlock row_begin must be a multiple of block_rows. Thread-safe on different `rows`.
Status QuantizeRtn(const TargetModule& module, const float* x, int64_t row_begin, int64_t count,
                   QuantizedRows& rows);

// The scale of static activations whose largest magnitude is `absmax`, by the same rule.
float StaticInputScale(const QuantArgs& args, DType dtype, float absmax);

// max |x| over `count` values. Errors: DataLoss naming the first NaN or infinity; `x` is [.., k] from
// row_begin on.
Result<float> AbsMax(const TargetModule& module, const float* x, int64_t row_begin, int64_t count);

}  // namespace octavo
