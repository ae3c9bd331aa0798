// SPDX-License-Identifier: Apache-2.0
// Pages that hold keys without the part that all tokens share, which attention adds back.
//
// A key projection's bias b (Qwen2's is up to a hundred times the rest) takes the codes of int8 and
// int4 pages for a number that is known. Such pages hold R_j (k_j - b), with R_j the rotation of
// position j, and attention adds q . R_j b to the score. With pairs (i, i + h), h = rotary_dim / 2:
//
//   q . R_j b = sum_i cos(j f_i) u_i + sin(j f_i) w_i     u_i = q_i b_i + q_{i+h} b_{i+h}
//                                                         w_i = q_{i+h} b_i - q_i b_{i+h}
//
// which is a dot product with one more "key" that all layers and heads share. For the tokens of a chunk
// that begins at position c, j = c + r: (u, w) is turned by c, once per row and chunk, and multiplied
// with the angles of r in 0..255, a table (64 KiB for heads of 128) that has the form of a bf16 page.
// What a bias adds in dims that do not rotate is the same for all keys: the softmax takes it out.
#pragma once

#include <cstddef>

namespace octavo {

// Tokens whose softmax is computed in one piece; see attention.h.
inline constexpr int kAttentionChunk = 256;

// Dims of the near table: cosines, padded to a multiple of 16, then sines.
constexpr int KeyOffsetDims(int rotary_dim) { return (rotary_dim / 2 + 15) / 16 * 32; }

// What the pages of one layer lack. Null `bias`: nothing.
struct KeyOffset {
  const float* bias = nullptr;      // [num_kv_heads * head_dim], before rotation
  const float* angles = nullptr;    // row p: cos, then sin, [rotary_dim]; up to the step's positions
  const std::byte* near = nullptr;  // MakeNearAngles(), in near_angles.h
  int rotary_dim = 0;

  int dims() const { return KeyOffsetDims(rotary_dim); }
};

}  // namespace octavo
