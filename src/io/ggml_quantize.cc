// SPDX-License-Identifier: Apache-2.0
// Q8_0 and Q4_0 blocks.
#include "io/ggml_quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/float16.h"

namespace octavo {
namespace {

constexpr size_t kBlock = 32;

// 0 for zeros and for steps so small that the reciprocal overflows.
float Reciprocal(float d) {
  const float inverse = 1.0f / d;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

void QuantizeQ8Block(const float* x, std::byte* block) {
  float absmax = 0;
  for (size_t i = 0; i < kBlock; ++i) absmax = std::max(absmax, std::abs(x[i]));
  const float d = absmax / 127.0f;
  const float inverse = Reciprocal(d);
  std::array<int8_t, kBlock> codes;
  for (size_t i = 0; i < kBlock; ++i) codes[i] = static_cast<int8_t>(std::round(x[i] * inverse));
  PackBlock(GgmlType::kQ8_0, F32ToF16(d), codes.data(), block);
}

// The value of largest magnitude becomes code 0 (-8); halves are dropped towards +infinity.
void QuantizeQ4Block(const float* x, std::byte* block) {
  float largest = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
  }
  const float d = largest / -8.0f;
  const float inverse = Reciprocal(d);
  std::array<int8_t, kBlock> codes;
  for (size_t i = 0; i < kBlock; ++i) {
    const float level = x[i] * inverse + 8.5f;
    codes[i] = static_cast<int8_t>(std::clamp(static_cast<int>(level), 0, 15) - 8);
  }
  PackBlock(GgmlType::kQ4_0, F32ToF16(d), codes.data(), block);
}

}  // namespace

void PackBlock(GgmlType type, uint16_t d, const int8_t* codes, std::byte* block) {
  std::memcpy(block, &d, sizeof d);
  block += sizeof d;
  if (type == GgmlType::kQ8_0) {
    std::memcpy(block, codes, kBlock);
    return;
  }
  for (size_t i = 0; i < kBlock / 2; ++i) {  // elements i and i + 16 share a byte
    const auto low = static_cast<uint8_t>(codes[i] + 8);
    const auto high = static_cast<uint8_t>(codes[i + kBlock / 2] + 8);
    block[i] = static_cast<std::byte>(low | high << 4);
  }
}

void QuantizeRow(GgmlType type, const float* x, size_t k, std::byte* row) {
  const auto bytes = static_cast<size_t>(InfoOf(type).block_bytes);
  for (size_t i = 0; i < k; i += kBlock, row += bytes) {
    if (type == GgmlType::kQ8_0) {
      QuantizeQ8Block(x + i, row);
    } else {
      QuantizeQ4Block(x + i, row);
    }
  }
}

}  // namespace octavo
