// SPDX-License-Identifier: Apache-2.0
// FP8: E4M3 weights with one scale per tensor, E4M3 activations with one calibrated scale per tensor.
// Checkpoints of `quant_method: fp8` (AutoFP8) are read as this scheme too.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kFloat && args.weights.num_bits == 8 &&
         args.weights.symmetric &&
         args.weights.strategy == Strategy::kTensor && args.input;
}

}  // namespace

extern const Scheme kScheme_fp8;
constinit const Scheme kScheme_fp8 = {
    .name = "FP8",
    .summary = "E4M3 weights and activations, one scale per tensor, that of activations calibrated",
    .online_name = "",
    .method = "compressed-tensors",
    .format = "float-quantized",
    .args = {.weights = {.num_bits = 8, .type = QuantType::kFloat, .strategy = Strategy::kTensor},
             .input = QuantArgs{.num_bits = 8,
                               .type = QuantType::kFloat,
                               .strategy = Strategy::kTensor}},
    .matches = &Matches,
    .open = &OpenCompressed,
    .quantize = &QuantizeRtn,
    .tensors = &CompressedTensors,
    .encode = &EncodeCompressed,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
};

}  // namespace octavo
