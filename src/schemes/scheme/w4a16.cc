// SPDX-License-Identifier: Apache-2.0
// W4A16: int4 weights in groups, 16-bit activations.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kInt && args.weights.num_bits == 4 && args.weights.symmetric && !args.input;
}

}  // namespace

extern const Scheme kScheme_w4a16;
constinit const Scheme kScheme_w4a16 = {
    .name = "W4A16",
    .summary = "int4 weights in groups of 128, 16-bit activations",
    .online_name = "w4a16",
    .method = "compressed-tensors",
    .format = "pack-quantized",
    .args = {.weights = {.num_bits = 4, .strategy = Strategy::kGroup, .group_size = 128}, .input = {}},
    .matches = &Matches,
    .open = &OpenCompressed,
    .quantize = &QuantizeRtn,
    .tensors = &CompressedTensors,
    .encode = &EncodeCompressed,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
};

}  // namespace octavo
