// SPDX-License-Identifier: Apache-2.0
// FP8_DYNAMIC: E4M3 weights with a scale per output channel, E4M3 activations per token.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kFloat && args.weights.num_bits == 8 &&
         args.weights.symmetric &&
         args.weights.strategy != Strategy::kBlock && args.weights.strategy != Strategy::kTensor &&
         args.input;
}

}  // namespace

extern const Scheme kScheme_fp8_dynamic;
constinit const Scheme kScheme_fp8_dynamic = {
    .name = "FP8_DYNAMIC",
    .summary = "E4M3 weights per channel, E4M3 activations per token",
    .online_name = "fp8_per_channel",
    .method = "compressed-tensors",
    .format = "float-quantized",
    .args = {.weights = {.num_bits = 8, .type = QuantType::kFloat, .strategy = Strategy::kChannel},
             .input = QuantArgs{.num_bits = 8,
                               .type = QuantType::kFloat,
                               .strategy = Strategy::kToken,
                               .dynamic = true}},
    .matches = &Matches,
    .open = &OpenCompressed,
    .quantize = &QuantizeRtn,
    .tensors = &CompressedTensors,
    .encode = &EncodeCompressed,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
};

}  // namespace octavo
