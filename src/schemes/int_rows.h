// SPDX-License-Identifier: Apache-2.0
// Rows of any integer weight as unsigned codes with integer zero points: the common terms of GPTQ, AWQ,
// compressed-tensors and ggml's blocks, between which `octavo convert` moves them unchanged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/status.h"
#include "schemes/weight_source.h"

namespace octavo {

struct IntRows {
  int64_t count = 0;
  std::vector<uint8_t> codes;  // [count, k], 0 .. 2^bits - 1
  std::vector<uint8_t> zeros;  // [count, groups]; w = (code - zero) * scale
  std::vector<float> scales;   // [count, groups]
};

// Whether `spec` has such codes: integers with one scale per row or group.
bool IsIntRows(const WeightSpec& spec);

// Rows [row_begin, row_begin + count) of `source`, whose spec IsIntRows. `scratch` keeps its memory.
// Errors: those of reading; FailedPrecondition where a minimum is no whole number of steps (Q4_1).
Status ReadIntRows(const WeightSource& source, int64_t row_begin, int64_t count, WeightRows& scratch,
                   IntRows& rows);

}  // namespace octavo
