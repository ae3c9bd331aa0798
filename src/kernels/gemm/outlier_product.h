// SPDX-License-Identifier: Apache-2.0
// The 16-bit part of LLM.int8(): outliers of activations times their columns of an int8 weight.
//
//   y[m][n] += sum over the outliers j of row m: x[m][j] * w[n][j]
//
// One f32 FMA chain per output, from 0, in ascending order of j; x in bf16, w = code * scale in f32, or
// the 16-bit original where the checkpoint keeps that column (KeptColumns). Rows have their own lists, so
// a result depends on its row and channel only. All ISA levels give the same bits.
// Source: arXiv:2208.07339, equation 8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/gemm/gemm.h"

namespace octavo {

inline constexpr int kMaxOutlierChannels = 64;  // of a panel

// Columns of a weight in 16 bit, beside its integers.
struct KeptColumns {
  std::vector<uint16_t> columns;  // ascending
  std::vector<uint16_t> values;   // [columns][n] bf16 bits
  bool empty() const { return columns.empty(); }
};

// A term of the sum, relative to the columns at hand.
struct OutlierTerm {
  uint16_t slot;
  uint16_t value;  // bf16 bits
};

// The inner loops of one ISA level. `channels` is a multiple of 16.
struct OutlierOps {
  // sum[channels] = fma(value, columns[slot], sum) for each term in order; columns [slots][channels].
  void (*accumulate)(const float* columns, int channels, const OutlierTerm* terms, int64_t count, float* sum);
  // out[count] += sum[count]
  void (*add)(const float* sum, int64_t count, float* out);
};

extern const OutlierOps kOutlierOps_reference;
extern const OutlierOps kOutlierOps_avx2;
extern const OutlierOps kOutlierOps_avx512;
const OutlierOps& OutlierOpsFor(IsaLevel isa);

// Adds the outliers of call.x for the channels of the panels [panel_begin, panel_end), after
// kernel.run has stored the rest. Needs kernel.columns, unless `kept` has every column of an outlier.
void AddOutliers(const GemmKernel& kernel, const GemmCall& call, const KeptColumns& kept,
                 const OutlierOps& ops, int64_t panel_begin, int64_t panel_end);

}  // namespace octavo
