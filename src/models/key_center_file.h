// SPDX-License-Identifier: Apache-2.0
// octavo_kv_cache.json beside a checkpoint: what the keys of a layer have in common, so that 8- and
// 4-bit pages need not hold it (kernels/attention/key_offset.h).
//
//   {"key_center": {"model.layers.0.self_attn": [...]}}      [num_kv_heads * head_dim] before rotation,
//                                                            beside k_proj's bias
//
// A file of its own, because consumers that know nothing of it reject tensors they do not expect.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "octavo/status.h"

namespace octavo {

inline constexpr const char* kKeyCenterFile = "octavo_kv_cache.json";

using KeyCenters = std::map<std::string, std::vector<float>>;  // by attention module

std::string FormatKeyCenters(const KeyCenters& centers);

// An absent file: no centers. Errors: DataLoss for what is not as above or not finite.
Result<KeyCenters> ReadKeyCenters(const std::string& path);

}  // namespace octavo
