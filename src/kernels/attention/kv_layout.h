// SPDX-License-Identifier: Apache-2.0
// Byte layout of the KV cache's pages, and access to single elements of them.
//
// A block holds `block_size` consecutive tokens of one sequence for one layer:
//
//   block: [kv_head 0: K | V | K scales, K zeros, V scales, V zeros][kv_head 1: ...]...   page_bytes()
//
// with D = padded_head_dim() and the K and V parts laid out so that 64 bytes are sixteen lanes and no
// dot product needs a horizontal sum: in K a lane is a token, in V a lane is a dim.
//
//   type    K                                              V: K's picture with tokens and dims swapped
//   f32     [block/16][D][16 tokens]                       [D/16][block][16 dims]
//   bf16    [block/16][D/2][16 tokens][2 dims]             [D/16][block/2][16 dims][2 tokens]
//   8 bit   [block/16][D/4][4][2 pairs][4 tokens][2 dims]  [D/16][block/4][4][2 pairs][4 dims][2]
//   int4    [block/16][D/8][16 tokens] uint32: element i of pair j in bits 16 i + 4 j; V likewise
//
// The 8-bit order is what unpacking bytes within 128-bit lanes turns into two vectors of pairs. The
// scales and zeros of int8 and int4 are f16, [block_size] each; x ~= (code - zero) * scale, with codes
// in -127..127 (stored as they are) or -8..7 (stored + 8).
// Zero bytes mean zeros in every type. Dims from head_dim to D are zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo {

enum class KvDType : uint8_t { kF32, kBf16, kFp8E4M3, kFp8E5M2, kInt8, kInt4 };

// Bits of one stored element.
constexpr int KvBits(KvDType dtype) {
  switch (dtype) {
    case KvDType::kF32: return 32;
    case KvDType::kBf16: return 16;
    case KvDType::kInt4: return 4;
    default: return 8;
  }
}

// Whether pages of this type carry a scale and a zero per token and head.
constexpr bool KvHasScales(KvDType dtype) {
  return dtype == KvDType::kInt8 || dtype == KvDType::kInt4;
}

// Shape and type of the pages of one KV group.
struct KvLayout {
  KvDType dtype = KvDType::kBf16;
  int num_kv_heads = 0;
  int head_dim = 0;     // 1..256, even; padded to a multiple of 16 inside the page
  int block_size = 32;  // tokens per block: 16, 32, 64, 128 or 256

  int padded_head_dim() const { return (head_dim + 15) / 16 * 16; }
  // Bytes of the K part, and of the V part, of one head in one block.
  size_t part_bytes() const {
    return static_cast<size_t>(block_size) * static_cast<size_t>(padded_head_dim()) *
           static_cast<size_t>(KvBits(dtype)) / 8;
  }
  // Bytes of one array of scales or zeros.
  size_t scales_bytes() const {
    return KvHasScales(dtype) ? static_cast<size_t>(block_size) * 2 : 0;
  }
  // K + V + scales of one head in one block, a multiple of 64.
  size_t head_bytes() const { return 2 * part_bytes() + 4 * scales_bytes(); }
  size_t page_bytes() const { return head_bytes() * static_cast<size_t>(num_kv_heads); }
  // Whether the kernels accept it.
  bool valid() const {
    return num_kv_heads > 0 && head_dim >= 2 && head_dim <= 256 && head_dim % 2 == 0 &&
           block_size >= 16 && 256 % block_size == 0;
  }
};

// Where one element's code lies inside the K or V part of a head; `shift` is 4 for high nibbles.
struct KvPlace {
  size_t byte = 0;
  int shift = 0;
};

// Places are separable: the place of (lane index a, chain index b) where a is the token in K and the
// dim in V, b the other one, and `chain` the extent of b (D in K, block_size in V).
constexpr KvPlace KvPlaceOf(KvDType dtype, int a, int b, int chain) {
  const auto at = [](int row, int column) {
    return static_cast<size_t>(row) * 64 + static_cast<size_t>(column);
  };
  const int group = a / 16, lane = a % 16;
  switch (dtype) {
    case KvDType::kF32: return {at(group * chain + b, lane * 4), 0};
    case KvDType::kBf16: return {at(group * (chain / 2) + b / 2, lane * 4 + b % 2 * 2), 0};
    case KvDType::kInt4: {
      const int pair = b % 8 / 2;
      return {at(group * (chain / 8) + b / 8, lane * 4 + b % 2 * 2 + pair / 2), pair % 2 * 4};
    }
    default:
      return {at(group * (chain / 4) + b / 4, lane / 4 * 16 + b / 2 % 2 * 8 + lane % 4 * 2 + b % 2), 0};
  }
}

}  // namespace octavo
