// SPDX-License-Identifier: Apache-2.0
// The 4-bit float forms of compressed-tensors (nvfp4- and mxfp4-pack-quantized).
//
//   weight_packed        U8 [n, k / 2], low nibble first: sign << 3 | index into {0, .5, 1, 1.5, 2, 3, 4, 6}
//   weight_scale         NVFP4: F8_E4M3 [n, k / 16];  MXFP4: U8 or F8_E8M0 [n, k / 32], 2^(e - 127)
//   weight_global_scale  NVFP4: F32 [1]; a group's scale is weight_scale / weight_global_scale
#pragma once

#include <memory>
#include <string_view>

#include "octavo/status.h"
#include "schemes/scheme.h"

namespace octavo {

// Scheme::open. Weights are expanded to bf16, the type in which compressed-tensors decompresses them.
// Errors: NotFound and DataLoss naming the tensor, what was found and what is wanted.
Result<std::unique_ptr<WeightSource>> OpenFp4(const StoredModule& module);

template <int kGroupSize>
bool IsFp4(const SchemeArgs& args) {
  return args.weights.type == QuantType::kFloat && args.weights.num_bits == 4 &&
         args.weights.group_size == kGroupSize;
}

// A form that is only read: the group size tells the two apart.
template <int kGroupSize>
constexpr Scheme Fp4Scheme(std::string_view name, std::string_view summary) {
  return {.name = name,
          .summary = summary,
          .online_name = "",
          .method = "",
          .format = "",
          .args = {.weights = {.num_bits = 4,
                               .type = QuantType::kFloat,
                               .strategy = Strategy::kGroup,
                               .group_size = kGroupSize},
                   .input = {}},
          .matches = &IsFp4<kGroupSize>,
          .open = &OpenFp4};
}

}  // namespace octavo
