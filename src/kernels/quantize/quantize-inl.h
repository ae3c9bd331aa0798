// SPDX-License-Identifier: Apache-2.0
// The same loops without branches and without float reductions, so that a compiler vectorizes them
// for whatever level the including file is compiled for. Include once per quantize_<level>.cc.
#pragma once

#include <cstdint>

#include "kernels/quantize/quantize_levels.h"

namespace octavo {
namespace {

inline uint32_t BitsOfFloat(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float FloatOfBits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline float Clamp(float value, float lo, float hi) {
  value = value < lo ? lo : value;
  return value > hi ? hi : value;
}

// Adding 1.5 * 2^23 leaves the integer, rounded to nearest even, in the low mantissa bits.
inline int32_t RoundToInt(float value) {
  return static_cast<int32_t>(BitsOfFloat(value + 12582912.0f)) - 0x4b400000;
}

void WidenBf16(const uint16_t* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = FloatOfBits(uint32_t{x[i]} << 16);
}

// Floats in order of value are integers in order once the magnitude of negative ones is flipped.
ValueRange Range(const float* x, int64_t n) {
  int32_t lo = 0;
  int32_t hi = 0;
  int32_t magnitude = 0;
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = static_cast<int32_t>(BitsOfFloat(x[i]));
    const int32_t absolute = bits & 0x7fffffff;
    const int32_t key = bits ^ ((bits >> 31) & 0x7fffffff);
    lo = key < lo ? key : lo;
    hi = key > hi ? key : hi;
    magnitude = absolute > magnitude ? absolute : magnitude;
  }
  ValueRange range;
  range.lo = lo == -1 ? 0.0f : FloatOfBits(static_cast<uint32_t>(lo ^ ((lo >> 31) & 0x7fffffff)));
  range.hi = FloatOfBits(static_cast<uint32_t>(hi));
  range.finite = magnitude < 0x7f800000;
  return range;
}

void ToInt(const float* x, int64_t n, float scale, float zero_point, float q_min, float q_max,
           int8_t* q) {
  for (int64_t i = 0; i < n; ++i) {
    q[i] = static_cast<int8_t>(RoundToInt(Clamp(x[i] / scale + zero_point, q_min, q_max)));
  }
}

// As F32ToE4M3 (base/float16.h) with both branches computed.
void ToE4M3(const float* x, int64_t n, float scale, uint8_t* q) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = BitsOfFloat(x[i] / scale);
    uint32_t magnitude = bits & 0x7fffffffu;
    magnitude = magnitude > 0x43e00000u ? 0x43e00000u : magnitude;
    const uint32_t normal = ((magnitude + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20) - (120u << 3);
    const uint32_t subnormal = BitsOfFloat(FloatOfBits(magnitude) + 16384.0f) - 0x46800000u;
    const uint32_t code = magnitude < 0x3c800000u ? subnormal : normal;
    q[i] = static_cast<uint8_t>(((bits >> 24) & 0x80u) | code);
  }
}

void ToUint4(const float* x, int64_t n, float scale, float step, float zero, uint8_t* u) {
  for (int64_t i = 0; i < n; ++i) {
    u[i] = static_cast<uint8_t>(RoundToInt(Clamp(x[i] / scale / step + zero, 0.0f, 15.0f)));
  }
}

void PackNibbles(const uint8_t* q, int64_t n, uint8_t offset, uint8_t* bytes) {
  for (int64_t i = 0; i < n / 2; ++i) {
    const unsigned lo = (q[2 * i] + offset) & 15u;
    const unsigned hi = (q[2 * i + 1] + offset) & 15u;
    bytes[i] = static_cast<uint8_t>(lo | hi << 4);
  }
}

constexpr QuantizeOps kOps = {
    .widen_bf16 = &WidenBf16,
    .range = &Range,
    .to_int = &ToInt,
    .to_e4m3 = &ToE4M3,
    .to_uint4 = &ToUint4,
    .pack_nibbles = &PackNibbles,
};

}  // namespace
}  // namespace octavo
