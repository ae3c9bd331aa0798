// SPDX-License-Identifier: Apache-2.0
// W8A8: int8 weights with a scale per output channel, int8 activations with a scale per token.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kInt && args.weights.num_bits == 8 && args.weights.symmetric &&
         args.weights.strategy != Strategy::kGroup && args.weights.strategy != Strategy::kBlock &&
         args.input && args.input->dynamic && args.input->type == QuantType::kInt;
}

}  // namespace

extern const Scheme kScheme_w8a8;
constinit const Scheme kScheme_w8a8 = {
    .name = "W8A8",
    .summary = "int8 weights per channel, int8 activations per token",
    .online_name = "int8",
    .method = "compressed-tensors",
    .format = "int-quantized",
    .args = {.weights = {.num_bits = 8, .strategy = Strategy::kChannel},
             .input = QuantArgs{.num_bits = 8, .strategy = Strategy::kToken, .dynamic = true}},
    .matches = &Matches,
    .open = &OpenCompressed,
    .quantize = &QuantizeRtn,
    .tensors = &CompressedTensors,
    .encode = &EncodeCompressed,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
};

}  // namespace octavo
