// SPDX-License-Identifier: Apache-2.0
// One canonical form for config.json of both Hugging Face generations.
#pragma once

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

// transformers 4 writes torch_dtype, rope_theta and rope_scaling; transformers 5 writes dtype and
// rope_parameters. Where a file has both, the newer spelling wins. The result keeps every other key
// and its order, and has
//   torch_dtype, dtype  both present and equal ("bfloat16"), or both absent
//   rope_theta          a number at the top, where either form has it
//   rope_scaling        object with "rope_type" (not "type"), or absent for plain RoPE. Only the
//                       scaling's own keys; the aliases "su" and Phi-3's "yarn" become "longrope"
//   rope_local_base_freq  Gemma 3's second base, from rope_parameters' "sliding_attention"
//   partial_rotary_factor, original_max_position_embeddings   at the top, where either form has
//   them
// and no rope_parameters. Errors: InvalidArgument naming the key.
Result<Json> NormalizeConfig(const Json& config);

}  // namespace octavo
