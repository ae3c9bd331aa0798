// SPDX-License-Identifier: Apache-2.0
// NVFP4: 4-bit floats in groups of 16 with FP8 scales, expanded to bf16.
#include "schemes/fp4_form.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kFloat && args.weights.num_bits == 4 &&
         args.weights.group_size == 16;
}

}  // namespace

extern const Scheme kScheme_nvfp4;
constinit const Scheme kScheme_nvfp4 = {
    .name = "NVFP4",
    .summary = "4-bit floats in groups of 16 with FP8 scales, expanded to bf16",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {.weights = {.num_bits = 4,
                         .type = QuantType::kFloat,
                         .strategy = Strategy::kGroup,
                         .group_size = 16},
             .input = {}},
    .matches = &Matches,
    .open = &OpenFp4,
};

}  // namespace octavo
