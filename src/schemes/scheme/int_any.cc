// SPDX-License-Identifier: Apache-2.0
// Every other integer form of compressed-tensors: 2 to 8 bits, any grouping, zero points, any activations.
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  if (args.weights.type != QuantType::kInt) return false;
  if (!args.input) {
    return !args.weights.symmetric ? args.weights.num_bits != 4
                                   : args.weights.num_bits != 3 && args.weights.num_bits != 4 &&
                                         args.weights.num_bits != 8;
  }
  if (args.input->type == QuantType::kFloat) return true;
  if (!args.weights.symmetric) {
    return args.weights.num_bits != 4 || args.weights.strategy != Strategy::kChannel;
  }
  const bool grouped = args.weights.strategy == Strategy::kGroup ||
                       args.weights.strategy == Strategy::kBlock;
  return args.weights.num_bits == 8 ? grouped : args.weights.num_bits != 4;
}

}  // namespace

extern const Scheme kScheme_int_any;
constinit const Scheme kScheme_int_any = {
    .name = "INT",
    .summary = "other integer weights of compressed-tensors, 2 to 8 bits",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {.weights = {.num_bits = 8, .symmetric = false, .strategy = Strategy::kGroup, .group_size = 128},
             .input = {}},
    .matches = &Matches,
    .open = &OpenCompressed,
};

}  // namespace octavo
