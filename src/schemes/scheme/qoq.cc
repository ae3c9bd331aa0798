// SPDX-License-Identifier: Apache-2.0
// QOQ: QoQ per channel, uint4 weights with one scale and zero point per output channel, int8 activations.
//
// Source: QServe, arXiv:2405.04532, section 4.1: y = s_a * s_w * sum(u * q_a) - s_a * s_w * z * sum(q_a).
// Stored as compressed-tensors' pack-quantized form, whose config names the activations too; also
// exactly W8A8, because u - z is an int8.
// Differs: scales have the model's dtype, and the second sum is that of the quantized activations, which
// makes the product exact; omniserve sums them before rounding.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kInt && args.weights.num_bits == 4 && !args.weights.symmetric &&
         args.weights.strategy == Strategy::kChannel && args.input &&
         args.input->type == QuantType::kInt;
}

// Nibbles are packed whatever the activations are.
TargetModule Packed(const TargetModule& module) {
  TargetModule packed = module;
  packed.args.input.reset();
  return packed;
}

std::vector<TensorSpec> Tensors(const TargetModule& module) { return CompressedTensors(Packed(module)); }

void Encode(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin,
            std::vector<TensorPiece>& pieces) {
  EncodeCompressed(Packed(module), rows, row_begin, pieces);
}

void ToW8A8(const TargetModule& module, QuantizedRows& rows) {
  for (size_t i = 0; i < rows.codes.size(); ++i) {
    const int code = static_cast<int8_t>(rows.codes[i]);
    const int zero = rows.zero_points[i / static_cast<size_t>(module.k)];
    rows.codes[i] = static_cast<uint8_t>(static_cast<int8_t>(code - zero));
  }
  rows.zero_points.clear();
}

}  // namespace

extern const Scheme kScheme_qoq;
constinit const Scheme kScheme_qoq = {
    .name = "QOQ",
    .summary = "uint4 weights with zero points per channel, int8 activations per token",
    .online_name = "qoq",
    .method = "compressed-tensors",
    .format = "pack-quantized",
    .args = {.weights = {.num_bits = 4, .symmetric = false, .strategy = Strategy::kChannel},
             .input = QuantArgs{.num_bits = 8, .strategy = Strategy::kToken, .dynamic = true}},
    .matches = &Matches,
    .open = &OpenCompressed,
    .quantize = &QuantizeRtn,
    .tensors = &Tensors,
    .encode = &Encode,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
    .to_w8a8 = &ToW8A8,
};

}  // namespace octavo
