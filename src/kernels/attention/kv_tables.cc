// SPDX-License-Identifier: Apache-2.0
// Code tables, computed by the compiler.
#include "kernels/attention/kv_tables.h"

#include "base/float16.h"

namespace octavo {
namespace {

template <typename Value>
constexpr KvCodeTable MakeTable(KvDType dtype, const Value& value) {
  KvCodeTable table{};
  table.dtype = dtype;
  for (int c = 0; c < 256; ++c) {
    const auto code = static_cast<uint8_t>(c);
    const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value(code)) >> 16);
    table.bf16[c] = bits;
    if (c >= 128) continue;
    table.low[c] = static_cast<uint8_t>(bits & 0xff);
    table.high[c] = static_cast<uint8_t>(bits >> 8);
  }
  return table;
}

constexpr KvCodeTable kE4M3 =
    MakeTable(KvDType::kFp8E4M3, [](uint8_t c) { return E4M3ToF32(c); });
constexpr KvCodeTable kE5M2 =
    MakeTable(KvDType::kFp8E5M2, [](uint8_t c) { return E5M2ToF32(c); });
constexpr KvCodeTable kInt8 =
    MakeTable(KvDType::kInt8, [](uint8_t c) { return static_cast<float>(static_cast<int8_t>(c)); });
constexpr KvCodeTable kInt4 =
    MakeTable(KvDType::kInt4, [](uint8_t c) { return static_cast<float>((c & 15) - 8); });

}  // namespace

const KvCodeTable& KvCodeTableOf(KvDType dtype) {
  switch (dtype) {
    case KvDType::kFp8E4M3: return kE4M3;
    case KvDType::kFp8E5M2: return kE5M2;
    case KvDType::kInt8: return kInt8;
    default: return kInt4;
  }
}

}  // namespace octavo
