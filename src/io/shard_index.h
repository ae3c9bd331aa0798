// SPDX-License-Identifier: Apache-2.0
// The safetensors files of a Hugging Face folder, single or sharded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "io/safetensors_reader.h"
#include "octavo/status.h"

namespace octavo {

inline constexpr std::string_view kSingleShardName = "model.safetensors";
inline constexpr std::string_view kShardIndexName = "model.safetensors.index.json";

// Checks that a shard name from an index is a plain file name (no folder, no "..") and that the
// file resolves to a place inside `folder`, or inside the blobs/ folder of a hub cache whose
// snapshot `folder` is. Returns the path to open.
Result<std::string> ResolveShardPath(const std::string& folder, const std::string& shard_name);

// Opens model.safetensors, or all shards that model.safetensors.index.json names, and checks them
// against each other: every tensor of the index is in the shard it names, and no tensor is in two.
// Errors name the file and the tensor; a folder with neither file is NotFound and lists what is
// there instead.
Result<std::vector<std::unique_ptr<SafetensorsReader>>> OpenShards(const std::string& folder);

// "model-00002-of-00005.safetensors", or "model.safetensors" for a single shard. 0-based `index`.
std::string ShardFileName(size_t index, size_t count);

// The text of model.safetensors.index.json. `weight_map`: (tensor, shard file) in output order.
std::string MakeShardIndexJson(const std::vector<std::pair<std::string, std::string>>& weight_map,
                               uint64_t total_bytes);

}  // namespace octavo
