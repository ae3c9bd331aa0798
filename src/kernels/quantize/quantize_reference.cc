// SPDX-License-Identifier: Apache-2.0
// The textbook loops, in the scalar conversions that define the numbers.
#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "kernels/quantize/quantize_levels.h"

namespace octavo {
namespace {

void WidenBf16(const uint16_t* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = Bf16ToF32(x[i]);
}

ValueRange Range(const float* x, int64_t n) {
  ValueRange range;
  for (int64_t i = 0; i < n; ++i) {
    range.lo = std::min(range.lo, x[i]);
    range.hi = std::max(range.hi, x[i]);
    range.finite = range.finite && std::isfinite(x[i]);
  }
  return range;
}

void ToInt(const float* x, int64_t n, float scale, float zero_point, float q_min, float q_max,
           int8_t* q) {
  for (int64_t i = 0; i < n; ++i) {
    q[i] = static_cast<int8_t>(std::nearbyint(std::clamp(x[i] / scale + zero_point, q_min, q_max)));
  }
}

void ToE4M3(const float* x, int64_t n, float scale, uint8_t* q) {
  for (int64_t i = 0; i < n; ++i) q[i] = F32ToE4M3(x[i] / scale);
}

void ToUint4(const float* x, int64_t n, float scale, float step, float zero, uint8_t* u) {
  for (int64_t i = 0; i < n; ++i) {
    u[i] = static_cast<uint8_t>(std::nearbyint(std::clamp(x[i] / scale / step + zero, 0.0f, 15.0f)));
  }
}

void PackNibbles(const uint8_t* q, int64_t n, uint8_t offset, uint8_t* bytes) {
  for (int64_t i = 0; i < n / 2; ++i) {
    const int lo = (q[2 * i] + offset) & 15;
    const int hi = (q[2 * i + 1] + offset) & 15;
    bytes[i] = static_cast<uint8_t>(lo | hi << 4);
  }
}

}  // namespace

constinit const QuantizeOps kQuantizeReference = {
    .widen_bf16 = &WidenBf16,
    .range = &Range,
    .to_int = &ToInt,
    .to_e4m3 = &ToE4M3,
    .to_uint4 = &ToUint4,
    .pack_nibbles = &PackNibbles,
};

}  // namespace octavo
