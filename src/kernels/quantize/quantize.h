// SPDX-License-Identifier: Apache-2.0
// The inner loops of round-to-nearest weight quantization.
//
// All levels give the same bits as the reference: ranges are found on integers, quotients are single
// f32 divisions, and rounding is to nearest even everywhere (base/float16.h defines the E4M3 codes).
// No pointer needs alignment; in and out do not overlap. Safe from any thread.
#pragma once

#include <cstdint>

#include "base/cpu_features.h"

namespace octavo {

// The smallest interval that holds 0 and all values.
struct ValueRange {
  float lo = 0;        // <= 0
  float hi = 0;        // >= 0
  bool finite = true;  // no NaN and no infinity; lo and hi mean nothing otherwise
};

struct QuantizeOps {
  // out[i] = the bf16 x[i].
  void (*widen_bf16)(const uint16_t* x, int64_t n, float* out);

  ValueRange (*range)(const float* x, int64_t n);

  // q[i] = rne(clamp(x[i] / scale + zero_point, q_min, q_max)). Finite x, scale > 0, |q| <= 2^22.
  void (*to_int)(const float* x, int64_t n, float scale, float zero_point, float q_min, float q_max,
                 int8_t* q);

  // q[i] = E4M3(clamp(x[i] / scale, -448, 448)). Finite x, scale > 0.
  void (*to_e4m3)(const float* x, int64_t n, float scale, uint8_t* q);

  // u[i] = rne(clamp(x[i] / scale / step + zero, 0, 15)): level 2 of QoQ.
  void (*to_uint4)(const float* x, int64_t n, float scale, float step, float zero, uint8_t* u);

  // bytes[i] = (q[2i] + offset) | (q[2i + 1] + offset) << 4 for n / 2 bytes; n is even and every
  // q + offset is in 0..15.
  void (*pack_nibbles)(const uint8_t* q, int64_t n, uint8_t offset, uint8_t* bytes);
};

// The functions of the highest level <= `isa`.
const QuantizeOps& QuantizeOpsFor(IsaLevel isa);

// Those of ActiveIsa(), or of the reference level when that is an error.
const QuantizeOps& ActiveQuantizeOps();

}  // namespace octavo
