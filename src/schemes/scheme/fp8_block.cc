// SPDX-License-Identifier: Apache-2.0
// FP8_BLOCK: E4M3 weights with a scale per 128 x 128 block, E4M3 activations per 128 columns.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kFloat && args.weights.num_bits == 8 &&
         args.weights.symmetric &&
         args.weights.strategy == Strategy::kBlock;
}

}  // namespace

extern const Scheme kScheme_fp8_block;
constinit const Scheme kScheme_fp8_block = {
    .name = "FP8_BLOCK",
    .summary = "E4M3 weights per 128x128 block, E4M3 activations per token and 128 columns",
    .online_name = "",
    .method = "compressed-tensors",
    .format = "float-quantized",
    .args = {.weights = {.num_bits = 8,
                         .type = QuantType::kFloat,
                         .strategy = Strategy::kBlock,
                         .block_rows = 128,
                         .block_cols = 128},
             .input = QuantArgs{.num_bits = 8,
                               .type = QuantType::kFloat,
                               .strategy = Strategy::kGroup,
                               .group_size = 128,
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
