// SPDX-License-Identifier: Apache-2.0
// omniserve's (QServe's) W4A8 and W8A8 tensors, whose order is that of its GPU kernels.
//
//   groups    qweight I8 [n, k / 2] in tiles, s1_scales F16 [n], s2_scales and s2_zeros I8 [k / g, n]
//             w = int8(u * s2_scale + s2_zero) * s1;  s2_zero = -(z * s2_scale) modulo 256
//   channels  qweight, s1_scales, s1_szeros F16 [n] = z * s1;  w = (u - z) * s1
//   int8      weight I8 [n, k], dequant_scale F16 [n];  w = q * dequant_scale
//
// A tile is 32 rows by 32 columns in 512 bytes, and tile (i, j) is number i * (k / 32) + j. Byte
// c 4:2 bits | e 2 | d 1 | b 1 | f 2 of it holds row 8 b + c (low nibble) and row 16 + 8 b + c (high
// nibble) of column 16 d + 4 e + f. Of every 32 columns of s2_scales and s2_zeros, column p belongs to row
// (p % 4) * 8 + p / 4.
//
// No config describes the form: a folder has it when its tensors have these names (HasOmniserveTensors).
//
// Source: QServe, arXiv:2405.04532, sections 4.1 and 5.2, and the tensors that omniserve loads.
#pragma once

#include <cstdint>
#include <memory>

#include "octavo/status.h"
#include "schemes/scheme.h"

namespace octavo {

inline constexpr int64_t kOmniserveTile = 32;  // rows, columns and outputs of a block of s2
inline constexpr int64_t kOmniserveTileBytes = 512;

// The element in the low nibble of byte `index` of a tile; the high nibble's is 16 rows below.
struct OmniservePlace {
  int row = 0;
  int col = 0;
};
constexpr OmniservePlace OmniservePlaceOf(int index) {
  const int f = index & 3, b = index >> 2 & 1, d = index >> 3 & 1, e = index >> 4 & 3, c = index >> 6;
  return {8 * b + c, 16 * d + 4 * e + f};
}

// Where the second-level numbers of a row are stored in a group.
constexpr int64_t OmniserveColumnOf(int64_t row) {
  return row / kOmniserveTile * kOmniserveTile + row % 8 * 4 + row % kOmniserveTile / 8;
}

// Whether any module of the checkpoint is stored so.
bool HasOmniserveTensors(const Checkpoint& checkpoint);

// Scheme::open. Groups run as QOQ_G128 does and channels as QOQ, with the same numbers; zeros that are no
// multiple of their scale (deepcompressor's "scaled" zeros) become int8 codes, value for value.
// Errors: NotFound and DataLoss naming the tensor, what was found and what is wanted.
Result<std::unique_ptr<WeightSource>> OpenOmniserve(const StoredModule& module);

}  // namespace octavo
