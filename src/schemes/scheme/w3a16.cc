// SPDX-License-Identifier: Apache-2.0
// W3A16: int3 weights in groups, 16-bit activations.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kInt && args.weights.num_bits == 3 && args.weights.symmetric && !args.input;
}

}  // namespace

extern const Scheme kScheme_w3a16;
constinit const Scheme kScheme_w3a16 = {
    .name = "W3A16",
    .summary = "int3 weights in groups of 128, 16-bit activations",
    .online_name = "w3a16",
    .method = "compressed-tensors",
    .format = "pack-quantized",
    .args = {.weights = {.num_bits = 3, .strategy = Strategy::kGroup, .group_size = 128}, .input = {}},
    .matches = &Matches,
    .open = &OpenCompressed,
    .quantize = &QuantizeRtn,
    .tensors = &CompressedTensors,
    .encode = &EncodeCompressed,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
};

}  // namespace octavo
