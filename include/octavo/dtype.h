// SPDX-License-Identifier: Apache-2.0
// Element types of tensors in files and in memory, by their safetensors names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace octavo {

// The order is safetensors' alignment order reversed: narrow types first.
enum class DType : uint8_t {
  kBool,
  kF4,       // two per byte, low nibble first
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,   // "fn": no infinities, +-448
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

// Width of one element in bits.
int BitsOf(DType dtype);

// Bytes of `count` elements, or nullopt when the product overflows or does not end on a byte.
std::optional<uint64_t> BytesOf(DType dtype, uint64_t count);

// "BF16", "F8_E4M3", ...
std::string_view NameOf(DType dtype);

// Inverse of NameOf; nullopt for an unknown or lower-case name.
std::optional<DType> DTypeFromName(std::string_view name);

}  // namespace octavo
