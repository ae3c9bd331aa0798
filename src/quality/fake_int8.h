// SPDX-License-Identifier: Apache-2.0
// The int8 quantizers that LLM.int8() compares, as rounding of floats to the values they can say.
//
// Source: arXiv:2208.07339, section 2. Differs: its zeropoint equations mix up signs; here asymmetric
// int8 is the usual one, over a range that contains 0.
#pragma once

#include <cstdint>

namespace octavo {

enum class Int8Code : uint8_t {
  kAbsmax,     // q = rne(x * 127 / max|x|)
  kZeropoint,  // 255 codes between min and max
};

// Rounds `count` values in place with one scale (and zero point) for all of them. NaN and infinity make
// all of them NaN, as a scale of NaN does.
void FakeInt8(Int8Code code, float* x, int64_t count);

// The same for a matrix [rows, cols] whose rows are `stride` apart: one scale per row, or one for all.
void FakeInt8Matrix(Int8Code code, bool by_row, float* x, int64_t rows, int64_t cols, int64_t stride);

}  // namespace octavo
