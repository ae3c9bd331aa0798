// SPDX-License-Identifier: Apache-2.0
// The row encoders behind ActivationBuffer::EncodeRow, one per ISA level; all give the same bits.
#pragma once

#include <cstdint>

namespace octavo {

// One row to encode. `out` has room for `cols` rounded up to 16 elements; the encoders store zeros
// beyond `cols`.
struct ActivationRow {
  const float* x;
  int64_t cols;
  void* out;              // float, bf16 bits or int8_t
  float* scales;          // one, or one per 128 or 32 columns
  int32_t* row_sum;       // kInt8
  int32_t* group_sums;    // int8 formats, when sum_group > 0
  float* group_sums_f32;  // all but kInt8, when sum_group > 0
  int64_t sum_group;
  float static_scale = 0;  // kInt8, kFp8: the scale when > 0
};

struct ActivationEncoders {
  void (*f32)(const ActivationRow&);
  void (*bf16)(const ActivationRow&);
  void (*int8)(const ActivationRow&);
  void (*fp8)(const ActivationRow&);
  void (*fp8_group128)(const ActivationRow&);
  void (*int8_group32)(const ActivationRow&);  // sum_group is 0, 16 or 32
};

extern const ActivationEncoders kActivationEncoders_reference;
extern const ActivationEncoders kActivationEncoders_avx2;
extern const ActivationEncoders kActivationEncoders_avx512;

// Floors of the scales (activation.h).
inline constexpr float kInt8MinAmax = 0x1p-100f;
inline constexpr float kFp8MinScale = 1.0f / (448.0f * 512.0f);

}  // namespace octavo
