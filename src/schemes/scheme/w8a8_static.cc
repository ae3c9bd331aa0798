// SPDX-License-Identifier: Apache-2.0
// W8A8_STATIC: int8 weights with a scale per output channel, int8 activations with one calibrated scale
// per tensor (level O3 of SmoothQuant).
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kInt && args.weights.num_bits == 8 && args.weights.symmetric &&
         args.weights.strategy != Strategy::kGroup && args.weights.strategy != Strategy::kBlock &&
         args.static_input() && args.input->type == QuantType::kInt;
}

}  // namespace

extern const Scheme kScheme_w8a8_static;
constinit const Scheme kScheme_w8a8_static = {
    .name = "W8A8_STATIC",
    .summary = "int8 weights per channel, int8 activations with one calibrated scale per tensor",
    .online_name = "",
    .method = "compressed-tensors",
    .format = "int-quantized",
    .args = {.weights = {.num_bits = 8, .strategy = Strategy::kChannel},
             .input = QuantArgs{.num_bits = 8, .strategy = Strategy::kTensor}},
    .matches = &Matches,
    .open = &OpenCompressed,
    .quantize = &QuantizeRtn,
    .tensors = &CompressedTensors,
    .encode = &EncodeCompressed,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
};

}  // namespace octavo
