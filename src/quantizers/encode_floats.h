// SPDX-License-Identifier: Apache-2.0
// Floats as the bytes of a stored tensor.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "base/float16.h"
#include "octavo/dtype.h"

namespace octavo {

// `type`: BF16, F16 or F32; rounds to nearest even.
inline std::vector<std::byte> EncodeFloats(DType type, std::span<const float> values) {
  const size_t width = type == DType::kF32 ? sizeof(float) : sizeof(uint16_t);
  std::vector<std::byte> bytes(values.size() * width);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = type == DType::kBF16 ? F32ToBf16(values[i]) : F32ToF16(values[i]);
    const void* from = type == DType::kF32 ? static_cast<const void*>(&values[i]) : &half;
    std::memcpy(bytes.data() + i * width, from, width);
  }
  return bytes;
}

}  // namespace octavo
