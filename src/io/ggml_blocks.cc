// SPDX-License-Identifier: Apache-2.0
// Decoders of ggml's blocks. Each block is unpacked to codes and scales, from which both public
// forms follow, so they cannot disagree.
#include "io/ggml_blocks.h"

#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/float16.h"

static_assert(std::endian::native == std::endian::little, "ggml blocks are read as little endian");

namespace octavo {
namespace {

using enum GgmlType;

constexpr std::array kTypes = {
    // type, name, block elems, bytes, code bits, group elems, code offset, has min
    GgmlTypeInfo{kF32, "F32", 1, 4, 0, 1, 0, false},
    GgmlTypeInfo{kF16, "F16", 1, 2, 0, 1, 0, false},
    GgmlTypeInfo{kBF16, "BF16", 1, 2, 0, 1, 0, false},
    GgmlTypeInfo{kQ4_0, "Q4_0", 32, 18, 4, 32, 8, false},
    GgmlTypeInfo{kQ4_1, "Q4_1", 32, 20, 4, 32, 0, true},
    GgmlTypeInfo{kQ5_0, "Q5_0", 32, 22, 5, 32, 16, false},
    GgmlTypeInfo{kQ5_1, "Q5_1", 32, 24, 5, 32, 0, true},
    GgmlTypeInfo{kQ8_0, "Q8_0", 32, 34, 8, 32, 0, false},
    GgmlTypeInfo{kQ4_K, "Q4_K", 256, 144, 4, 32, 0, true},
    GgmlTypeInfo{kQ5_K, "Q5_K", 256, 176, 5, 32, 0, true},
    GgmlTypeInfo{kQ6_K, "Q6_K", 256, 210, 6, 16, 32, false},
};

constexpr std::array<std::string_view, 40> kNames = {
    "F32",
    "F16",
    "Q4_0",
    "Q4_1",
    "Q4_2 (removed)",
    "Q4_3 (removed)",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q8_1",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "Q8_K",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ3_XXS",
    "IQ1_S",
    "IQ4_NL",
    "IQ3_S",
    "IQ2_S",
    "IQ4_XS",
    "I8",
    "I16",
    "I32",
    "I64",
    "F64",
    "IQ1_M",
    "BF16",
    "Q4_0_4_4 (removed)",
    "Q4_0_4_8 (removed)",
    "Q4_0_8_8 (removed)",
    "TQ1_0",
    "TQ2_0",
    "IQ4_NL_4_4 (removed)",
    "IQ4_NL_4_8 (removed)",
    "IQ4_NL_8_8 (removed)",
    "MXFP4",
};

constexpr int kMaxBlockElems = 256;
constexpr int kMaxBlockGroups = 16;

struct Block {
  int8_t codes[kMaxBlockElems];
  float scales[kMaxBlockGroups];
  float mins[kMaxBlockGroups];
};

uint32_t Byte(const std::byte* p, int i) { return std::to_integer<uint32_t>(p[i]); }

float LoadF16(const std::byte* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return F16ToF32(bits);
}

// Low nibbles are elements 0..15, high nibbles 16..31; `high_bits` gives the fifth bit of each.
void UnpackNibbles32(const std::byte* nibbles, uint32_t high_bits, int8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    const uint32_t byte = Byte(nibbles, i);
    codes[i] = static_cast<int8_t>((byte & 15) | (high_bits >> i & 1) << 4);
    codes[i + 16] = static_cast<int8_t>(byte >> 4 | (high_bits >> (i + 16) & 1) << 4);
  }
}

// Q4_0: d f16, 16 bytes. Q4_1 adds m f16 after d; Q5_* add 32 high bits before the nibbles.
void UnpackLegacy(const GgmlTypeInfo& info, const std::byte* p, Block& block) {
  block.scales[0] = LoadF16(p);
  p += 2;
  if (info.has_min) {
    block.mins[0] = LoadF16(p);
    p += 2;
  }
  uint32_t high_bits = 0;
  if (info.code_bits == 5) {
    std::memcpy(&high_bits, p, sizeof high_bits);
    p += 4;
  }
  UnpackNibbles32(p, high_bits, block.codes);
}

// Twelve bytes hold eight 6-bit scales and eight 6-bit minimums.
void UnpackSixBitScales(const std::byte* s, KQuantScales& out) {
  for (int j = 0; j < 4; ++j) {
    out.scales[j] = static_cast<int8_t>(Byte(s, j) & 63);
    out.mins[j] = static_cast<uint8_t>(Byte(s, j + 4) & 63);
    out.scales[j + 4] = static_cast<int8_t>((Byte(s, j + 8) & 15) | (Byte(s, j) >> 6) << 4);
    out.mins[j + 4] = static_cast<uint8_t>(Byte(s, j + 8) >> 4 | (Byte(s, j + 4) >> 6) << 4);
  }
}

// Q4_K: d, dmin f16, 12 scale bytes, 128 nibble bytes; Q5_K has 32 bytes of fifth bits before them.
// Each run of 32 nibble bytes holds group 2i in its low and group 2i + 1 in its high nibbles.
void UnpackQ45K(const GgmlTypeInfo& info, const std::byte* p, Block& block) {
  const KQuantScales scales = UnpackKQuantScales(info.type, p);
  const std::byte* high = p + 16;
  const std::byte* nibbles = info.code_bits == 5 ? high + 32 : high;
  for (int group = 0; group < 8; ++group) {
    block.scales[group] = scales.d * static_cast<float>(scales.scales[group]);
    block.mins[group] = -(scales.dmin * static_cast<float>(scales.mins[group]));
    for (int i = 0; i < 32; ++i) {
      const uint32_t byte = Byte(nibbles, 32 * (group / 2) + i);
      uint32_t code = group % 2 == 0 ? byte & 15 : byte >> 4;
      if (info.code_bits == 5) code |= (Byte(high, i) >> group & 1) << 4;
      block.codes[32 * group + i] = static_cast<int8_t>(code);
    }
  }
}

// Q6_K: 128 bytes of low nibbles, 64 of upper bit pairs, 16 signed scales, d f16.
void UnpackQ6K(const std::byte* p, Block& block) {
  const KQuantScales scales = UnpackKQuantScales(kQ6_K, p);
  for (int group = 0; group < 16; ++group) {
    block.scales[group] = scales.d * static_cast<float>(scales.scales[group]);
  }
  for (int half = 0; half < 2; ++half) {
    const std::byte* low = p + 64 * half;
    const std::byte* high = p + 128 + 32 * half;
    int8_t* codes = block.codes + 128 * half;
    for (int i = 0; i < 32; ++i) {
      const uint32_t a = Byte(low, i);
      const uint32_t b = Byte(low, i + 32);
      const uint32_t h = Byte(high, i);
      codes[i] = static_cast<int8_t>((a & 15) | (h & 3) << 4);
      codes[i + 32] = static_cast<int8_t>((b & 15) | (h >> 2 & 3) << 4);
      codes[i + 64] = static_cast<int8_t>(a >> 4 | (h >> 4 & 3) << 4);
      codes[i + 96] = static_cast<int8_t>(b >> 4 | (h >> 6) << 4);
    }
  }
}

void UnpackBlock(const GgmlTypeInfo& info, const std::byte* p, Block& block) {
  switch (info.type) {
    case kQ8_0:
      block.scales[0] = LoadF16(p);
      std::memcpy(block.codes, p + 2, 32);
      return;
    case kQ4_K:
    case kQ5_K:
      return UnpackQ45K(info, p, block);
    case kQ6_K:
      return UnpackQ6K(p, block);
    default:
      return UnpackLegacy(info, p, block);
  }
}

void ScaleBlock(const GgmlTypeInfo& info, const Block& block, float* out) {
  for (int i = 0; i < info.block_elems; ++i) {
    const int group = i / info.group_elems;
    const float product =
        block.scales[group] * static_cast<float>(block.codes[i] - info.code_offset);
    out[i] = info.has_min ? product + block.mins[group] : product;
  }
}

void ConvertFloats(GgmlType type, const std::byte* row, size_t k, float* out) {
  if (type == kF32) {
    std::memcpy(out, row, k * sizeof(float));
    return;
  }
  for (size_t i = 0; i < k; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, row + 2 * i, sizeof bits);
    out[i] = type == kF16 ? F16ToF32(bits) : Bf16ToF32(bits);
  }
}

}  // namespace

const GgmlTypeInfo* FindGgmlType(uint32_t id) {
  for (const GgmlTypeInfo& info : kTypes) {
    if (static_cast<uint32_t>(info.type) == id) return &info;
  }
  return nullptr;
}

const GgmlTypeInfo& InfoOf(GgmlType type) {
  const GgmlTypeInfo* info = FindGgmlType(static_cast<uint32_t>(type));
  OCTAVO_CHECK(info != nullptr);
  return *info;
}

std::string_view GgmlTypeName(uint32_t id) { return id < kNames.size() ? kNames[id] : "unknown"; }

std::optional<uint64_t> GgmlRowBytes(GgmlType type, uint64_t k) {
  const GgmlTypeInfo& info = InfoOf(type);
  const auto elems = static_cast<uint64_t>(info.block_elems);
  const auto bytes = static_cast<uint64_t>(info.block_bytes);
  if (k % elems != 0 || k / elems > std::numeric_limits<uint64_t>::max() / bytes) {
    return std::nullopt;
  }
  return k / elems * bytes;
}

void DequantizeRow(GgmlType type, const std::byte* row, size_t k, float* out) {
  const GgmlTypeInfo& info = InfoOf(type);
  if (info.code_bits == 0) return ConvertFloats(type, row, k, out);
  const auto elems = static_cast<size_t>(info.block_elems);
  OCTAVO_DCHECK(k % elems == 0);
  Block block;
  for (size_t i = 0; i < k; i += elems, row += info.block_bytes) {
    UnpackBlock(info, row, block);
    ScaleBlock(info, block, out + i);
  }
}

void UnpackRow(GgmlType type, const std::byte* row, size_t k, int8_t* codes, float* scales,
               float* mins) {
  const GgmlTypeInfo& info = InfoOf(type);
  OCTAVO_CHECK(info.code_bits > 0);
  const auto elems = static_cast<size_t>(info.block_elems);
  const size_t groups = elems / static_cast<size_t>(info.group_elems);
  OCTAVO_DCHECK(k % elems == 0);
  Block block;
  for (size_t i = 0; i < k; i += elems, row += info.block_bytes) {
    UnpackBlock(info, row, block);
    std::memcpy(codes + i, block.codes, elems);
    std::memcpy(scales, block.scales, groups * sizeof(float));
    scales += groups;
    if (!info.has_min) continue;
    std::memcpy(mins, block.mins, groups * sizeof(float));
    mins += groups;
  }
}

KQuantScales UnpackKQuantScales(GgmlType type, const std::byte* block) {
  KQuantScales out;
  if (type == kQ6_K) {
    std::memcpy(out.scales, block + 192, 16);
    out.d = LoadF16(block + 208);
    return out;
  }
  OCTAVO_CHECK(type == kQ4_K || type == kQ5_K);
  out.d = LoadF16(block);
  out.dmin = LoadF16(block + 2);
  UnpackSixBitScales(block + 4, out);
  return out;
}

}  // namespace octavo
