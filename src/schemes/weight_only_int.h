// SPDX-License-Identifier: Apache-2.0
// What the schemes with symmetric integer weights in groups and 16-bit activations share: all but the
// width of a code.
#pragma once

#include <string_view>

#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {

template <int kBits>
bool IsWeightOnlyInt(const SchemeArgs& args) {
  const QuantArgs& weights = args.weights;
  return weights.type == QuantType::kInt && weights.num_bits == kBits && weights.symmetric && !args.input;
}

template <int kBits>
constexpr Scheme WeightOnlyInt(std::string_view name, std::string_view online_name,
                               std::string_view summary) {
  return {.name = name,
          .summary = summary,
          .online_name = online_name,
          .method = "compressed-tensors",
          .format = "pack-quantized",
          .args = {.weights = {.num_bits = kBits, .strategy = Strategy::kGroup, .group_size = 128},
                   .input = {}},
          .matches = &IsWeightOnlyInt<kBits>,
          .open = &OpenCompressed,
          .quantize = &QuantizeRtn,
          .tensors = &CompressedTensors,
          .encode = &EncodeCompressed,
          .spec = &CompressedSpec,
          .to_weight_rows = &CompressedToWeightRows};
}

}  // namespace octavo
