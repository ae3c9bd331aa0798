// SPDX-License-Identifier: Apache-2.0
// Floats to ggml's blocks, as ggml rounds them, and integers that already have scales of their own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/ggml_blocks.h"

namespace octavo {

// Rounds `k` values (a multiple of 32) to blocks of Q8_0 or Q4_0 at `row`. Bit-equal to the gguf
// library: Q8_0 d = absmax / 127, halves away from zero; Q4_0 d = (the value of largest magnitude) / -8.
// Requires finite values.
void QuantizeRow(GgmlType type, const float* x, size_t k, std::byte* row);

// One block of 32 codes that keep their value: w = code * d with a half-float d given by its bits.
// Q8_0: codes -128 .. 127; Q4_0: -8 .. 7.
void PackBlock(GgmlType type, uint16_t d, const int8_t* codes, std::byte* block);

}  // namespace octavo
