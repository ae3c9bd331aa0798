// SPDX-License-Identifier: Apache-2.0
// FP8 weights (per tensor or channel) with 16-bit activations: compressed-tensors' naive-quantized form.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kFloat && args.weights.num_bits == 8 &&
         args.weights.symmetric && !args.input &&
         args.weights.strategy != Strategy::kBlock;
}

}  // namespace

extern const Scheme kScheme_fp8_weight_only;
constinit const Scheme kScheme_fp8_weight_only = {
    .name = "FP8_A16",
    .summary = "E4M3 weights, 16-bit activations",
    .online_name = "",
    .method = "",
    .format = "naive-quantized",
    .args = {.weights = {.num_bits = 8, .type = QuantType::kFloat, .strategy = Strategy::kChannel},
             .input = {}},
    .matches = &Matches,
    .open = &OpenCompressed,
};

}  // namespace octavo
