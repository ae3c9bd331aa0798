// SPDX-License-Identifier: Apache-2.0
// W4A8: int4 weights in groups, int8 activations per token. On disk one code per byte.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kInt && args.weights.num_bits == 4 && args.weights.symmetric &&
         args.input && args.input->type == QuantType::kInt;
}

}  // namespace

extern const Scheme kScheme_w4a8;
constinit const Scheme kScheme_w4a8 = {
    .name = "W4A8",
    .summary = "int4 weights in groups of 128, int8 activations per token",
    .online_name = "w4a8",
    .method = "compressed-tensors",
    .format = "int-quantized",
    .args = {.weights = {.num_bits = 4, .strategy = Strategy::kGroup, .group_size = 128},
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
