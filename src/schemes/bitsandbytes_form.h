// SPDX-License-Identifier: Apache-2.0
// Checkpoints of bitsandbytes as transformers saves them (`quant_method: bitsandbytes`).
//
//   int8  weight I8 [n, k];  SCB F32 [n], each row's absmax;  weight_format U8 [] = 0 (by rows)
//         w = q * SCB / 127
//         Octavo may add outlier_columns I32 [c], ascending, and outlier_weight BF16 [n, c]: these
//         columns of the original, which outliers meet instead of w. Other readers ignore them.
//   4 bit weight U8 [(n * k + 1) / 2, 1]: codes of the flattened weight, high nibble first, in blocks
//         weight.absmax F32 [blocks];  weight.quant_map F32 [16];
//         weight.quant_state.bitsandbytes__nf4 (or __fp4) U8: JSON with blocksize, dtype, shape
//         w = table[code] * absmax, rounded to dtype
//   nested (double quantization): weight.absmax is U8 [blocks], and a block's absmax is
//         nested_quant_map[code] * nested_absmax[block / nested_blocksize] + nested_offset
#pragma once

#include <memory>

#include "octavo/status.h"
#include "schemes/scheme.h"

namespace octavo {

// 1 / 127 as bitsandbytes rounds it.
inline constexpr float kBnbInverse127 = 7.874015718698502e-3f;

inline constexpr const char* kOutlierColumns = ".outlier_columns";
inline constexpr const char* kOutlierWeight = ".outlier_weight";

// Scheme::open. LLM.int8() weights meet int8 activations and, from the threshold of the module's args
// on, 16-bit ones. 4-bit weights become floats of the stored dtype.
// Errors: NotFound and DataLoss naming the tensor, what was found and what is wanted.
Result<std::unique_ptr<WeightSource>> OpenBnbInt8(const StoredModule& module);
Result<std::unique_ptr<WeightSource>> OpenBnb4Bit(const StoredModule& module);

}  // namespace octavo
