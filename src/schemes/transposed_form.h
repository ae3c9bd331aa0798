// SPDX-License-Identifier: Apache-2.0
// GPTQ and AWQ checkpoints: integer codes stored transposed, [k, n], with a scale and a zero point per
// group of inputs and output.
//
//   GPTQ  qweight I32 [k * b / 32, n]   codes of one output: the little-endian bit string of its column
//         qzeros  I32 [groups, n * b / 32]   zero points of one group, packed the same way along n
//         scales  F16 or BF16 [groups, n];  g_idx I32 [k]: the group of each input (optional)
//   AWQ   qweight I32 [k, n / 8], qzeros I32 [groups, n / 8]: output 8j + c is nibble
//         {0, 4, 1, 5, 2, 6, 3, 7}[c] of word j;  scales F16 or BF16 [groups, n]
//
//   w[o][i] = (code - zero) * scale, with the scale and zero of group g_idx[i] (else i / group_size)
//
// GPTQ v1 stores zero - 1. Writers subtract 1 from every field of a word at once, borrows and all, and
// so the reader adds 1 to every field of a word at once: 0x77777777 becomes 0x88888888 (for 3 bits: of
// three words, as fields straddle them). v2 and AWQ store the zero itself. Whether a weight is symmetric is read off its zeros, not off the config.
//
// Codes whose groups are contiguous go to the integer kernels. With act-order (`desc_act`) the inputs of
// a group are scattered; such weights are expanded to bf16 and say so (WeightInfo::note).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "octavo/status.h"
#include "schemes/scheme.h"

namespace octavo {

// Scheme::open for `quant_method: gptq` and `awq`. args.weights: num_bits, and kGroup with group_size
// or kChannel. Errors: NotFound and DataLoss naming the tensor, what was found and what is wanted.
Result<std::unique_ptr<WeightSource>> OpenGptq(const StoredModule& module);
Result<std::unique_ptr<WeightSource>> OpenGptqV2(const StoredModule& module);
Result<std::unique_ptr<WeightSource>> OpenAwq(const StoredModule& module);

// The nibble of a word that holds its output c.
inline constexpr std::array<int, 8> kAwqNibble = {0, 4, 1, 5, 2, 6, 3, 7};

// Turns v1's packed zeros [count words, the first field at bit 0] into v2's, and back.
void AddPackedOnes(int bits, std::span<uint32_t> words);
void SubtractPackedOnes(int bits, std::span<uint32_t> words);

}  // namespace octavo
