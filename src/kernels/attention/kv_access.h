// SPDX-License-Identifier: Apache-2.0
// Reads single elements and scales of a KV page: what the reference kernel and the tests are made of.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/float16.h"
#include "kernels/attention/kv_layout.h"

namespace octavo {

// How a token's codes of one head become numbers: x ~= (code - zero) * scale.
struct KvScale {
  float scale = 1.0f;
  float zero = 0.0f;
};

template <typename T>
inline T LoadAs(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// The code at `place` as a number, before scale and zero.
inline float KvCode(KvDType dtype, const std::byte* part, KvPlace place) {
  const std::byte* p = part + place.byte;
  switch (dtype) {
    case KvDType::kF32: return LoadAs<float>(p);
    case KvDType::kBf16: return Bf16ToF32(LoadAs<uint16_t>(p));
    case KvDType::kFp8E4M3: return E4M3ToF32(LoadAs<uint8_t>(p));
    case KvDType::kFp8E5M2: return E5M2ToF32(LoadAs<uint8_t>(p));
    case KvDType::kInt8: return static_cast<float>(LoadAs<int8_t>(p));
    case KvDType::kInt4: return static_cast<float>((LoadAs<uint8_t>(p) >> place.shift & 15) - 8);
  }
  return 0.0f;
}

// One KV head of one block.
struct KvHeadBlock {
  const KvLayout& layout;
  const std::byte* head;  // layout.head_bytes()

  // Code of K at (slot, dim), of V at (slot, dim).
  float K(int slot, int dim) const {
    return KvCode(layout.dtype, head,
                  KvPlaceOf(layout.dtype, slot, dim, layout.padded_head_dim()));
  }
  float V(int slot, int dim) const {
    return KvCode(layout.dtype, head + layout.part_bytes(),
                  KvPlaceOf(layout.dtype, dim, slot, layout.block_size));
  }
  KvScale KScale(int slot) const { return Scale(slot, 0); }
  KvScale VScale(int slot) const { return Scale(slot, 2); }

 private:
  // Scales lie in array `first`, zeros in the next.
  KvScale Scale(int slot, int first) const {
    if (!KvHasScales(layout.dtype)) return {};
    const std::byte* scales = head + 2 * layout.part_bytes() +
                              static_cast<size_t>(first) * layout.scales_bytes() + 2 * slot;
    return {F16ToF32(LoadAs<uint16_t>(scales)),
            F16ToF32(LoadAs<uint16_t>(scales + layout.scales_bytes()))};
  }
};

}  // namespace octavo
