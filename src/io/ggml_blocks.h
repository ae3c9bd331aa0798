// SPDX-License-Identifier: Apache-2.0
// The block formats of ggml as stored in GGUF files: sizes, exact values, and codes with scales.
//
// A row of k elements is k / block_elems blocks. Within a block, groups of group_elems elements
// share one scale and, for the asymmetric types, one minimum:
//
//   value = scale * (code - code_offset)            Q4_0 Q5_0 Q8_0 Q6_K
//   value = scale * code + min                      Q4_1 Q5_1 Q4_K Q5_K      (two f32 roundings)
//
// which is bit for bit what ggml's dequantizers compute. Little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace octavo {

// Numbers as in the files. Only the types below are read; GgmlTypeName also knows the others.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;  // "Q4_K"
  int block_elems;        // Elements per block; 1 for the plain floats.
  int block_bytes;
  int code_bits;    // Bits of a code; 0 for the plain floats, which have no codes.
  int group_elems;  // Elements that share a scale.
  int code_offset;  // Subtracted from a code before scaling.
  bool has_min;
};

// nullptr for types that cannot be read.
const GgmlTypeInfo* FindGgmlType(uint32_t id);
const GgmlTypeInfo& InfoOf(GgmlType type);

// Name of any type number ggml has ever used ("IQ4_XS", "Q4_2 (removed)"), or "unknown".
std::string_view GgmlTypeName(uint32_t id);

// Bytes of a row of `k` elements; nullopt when k is no multiple of the block or the size overflows.
std::optional<uint64_t> GgmlRowBytes(GgmlType type, uint64_t k);

// Writes the k values of a row to `out`. Requires k % block_elems == 0; `row` needs no alignment.
// Numerics: bit-equal to ggml's dequantize_row_*; the plain floats convert exactly.
void DequantizeRow(GgmlType type, const std::byte* row, size_t k, float* out);

// Splits a row into codes [k], scales [k / group_elems] and mins [k / group_elems] (nullptr allowed
// when !has_min). Codes are 0 .. 2^bits - 1, for Q8_0 -128 .. 127.
// Requires a block type (code_bits > 0) and k % block_elems == 0.
void UnpackRow(GgmlType type, const std::byte* row, size_t k, int8_t* codes, float* scales,
               float* mins);

// The two-level scales of one 256-element K-quant block as stored, for layouts that keep them
// small:
//   Q4_K, Q5_K (8 groups of 32):  scale = d * scales[g], min = -(dmin * mins[g])
//   Q6_K (16 groups of 16):       scale = d * scales[g], dmin = 0, mins unused
struct KQuantScales {
  float d = 0;
  float dmin = 0;
  int8_t scales[16] = {};
  uint8_t mins[8] = {};
};
// Requires Q4_K, Q5_K or Q6_K.
KQuantScales UnpackKQuantScales(GgmlType type, const std::byte* block);

}  // namespace octavo
