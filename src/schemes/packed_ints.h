// SPDX-License-Identifier: Apache-2.0
// The bit streams of compressed-tensors' "pack-quantized" form: reference code that defines the bytes.
//
// Element i of a run is stored as u_i = q_i + 2^(b-1) in bits [i*b, i*b + b) of the run's little-endian
// bit string, which is cut into 32-bit words (docs/formats.md):
//
//   b = 4   word 0: | u7 u6 u5 u4 u3 u2 u1 u0 |      b = 3   32 elements in 3 words, some straddling
//
// Readers before compressed-tensors 0.19 used floor(32 / b) elements per word and zeros above them;
// for b = 2, 4, 8 that is the same. The packed width tells the two apart.
#pragma once

#include <cstdint>

namespace octavo {

enum class IntPacking : uint8_t { kDense, kWordAligned };

// 32-bit words that `count` elements of `bits` (2 to 8) bits take.
int64_t PackedWords(int64_t count, int bits, IntPacking packing = IntPacking::kDense);

// Packs u[0..count) (each < 2^bits) into PackedWords(count, bits) little-endian words at `words`
// (4-byte aligned or not). Unused bits of the last word are zero.
void PackInts(const uint8_t* u, int64_t count, int bits, uint8_t* words);

// PackInts of u[i] = (q[i] + offset) mod 2^bits.
void PackSigned(const uint8_t* q, int64_t count, int bits, uint8_t offset, uint8_t* words);

// Inverse for both packings; reads exactly PackedWords(count, bits, packing) words.
void UnpackInts(const uint8_t* words, int64_t count, int bits, IntPacking packing, uint8_t* u);

}  // namespace octavo
