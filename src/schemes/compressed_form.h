// SPDX-License-Identifier: Apache-2.0
// The stored forms of compressed-tensors (int-, float-, naive- and pack-quantized) for any args, read
// and written. The schemes in scheme/ are points in this space; docs/formats.md draws the bytes.
//
//   weight            I8 or F8_E4M3 [n, k]           int-, float-, naive-quantized
//   weight_packed     I32 [n, ceil(k * b / 32)]      pack-quantized, with weight_shape I64 [2] = [n, k]
//   weight_scale      BF16, F16 or F32: [1], [n, 1], [n, k / group_size], [ceil(n / r), ceil(k / c)]
//   input_scale       [1] like weight_scale, where activations are static
//   weight_zero_point asymmetric: I8 like weight_scale, or packed I32 [ceil(n * b / 32), scale columns]
//
// The same reader serves `quant_method: fp8`, whose scales are F32 and, per block, called
// weight_scale_inv (a multiplier all the same).
#pragma once

#include <memory>
#include <vector>

#include "octavo/status.h"
#include "schemes/scheme.h"

namespace octavo {

// Whether llm-compressor stores these args packed: integers with 16-bit activations.
inline bool IsPackedForm(const SchemeArgs& args) {
  return args.weights.type == QuantType::kInt && !args.input;
}

// Scheme::open for all args above.
Result<std::unique_ptr<WeightSource>> OpenCompressed(const StoredModule& module);

// Scheme::spec. Requires args that fit n and k (checked by OpenCompressed and by the quantizer).
WeightSpec CompressedSpec(const TargetModule& module);

// Scheme::tensors and Scheme::encode.
std::vector<TensorSpec> CompressedTensors(const TargetModule& module);
void EncodeCompressed(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin,
                      std::vector<TensorPiece>& pieces);

// Scheme::to_weight_rows: codes become unsigned and zero points become mins where asymmetric; block
// scales are spread over columns. Takes memory from `from` where it can.
void CompressedToWeightRows(const TargetModule& module, QuantizedRows& from, WeightRows& to);

// Columns of the scale tensor: 1, k / group_size or ceil(k / block_cols).
int64_t ScaleCols(const QuantArgs& args, int64_t k);

}  // namespace octavo
