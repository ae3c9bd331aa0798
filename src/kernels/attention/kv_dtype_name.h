// SPDX-License-Identifier: Apache-2.0
// Names of KV cache types, as options and reports spell them.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "kernels/attention/kv_layout.h"

namespace octavo {

inline constexpr std::array<std::pair<std::string_view, KvDType>, 7> kKvDTypeNames = {{
    {"bfloat16", KvDType::kBf16},
    {"float32", KvDType::kF32},
    {"fp8", KvDType::kFp8E4M3},
    {"fp8_e4m3", KvDType::kFp8E4M3},
    {"fp8_e5m2", KvDType::kFp8E5M2},
    {"int8", KvDType::kInt8},
    {"int4", KvDType::kInt4},
}};

// nullopt when there is no such type.
inline std::optional<KvDType> FindKvDType(std::string_view name) {
  for (const auto& [candidate, dtype] : kKvDTypeNames) {
    if (candidate == name) return dtype;
  }
  return std::nullopt;
}

}  // namespace octavo
