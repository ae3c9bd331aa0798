// SPDX-License-Identifier: Apache-2.0
// Shard discovery and the checks between the index and its shards.
#include "io/shard_index.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <unordered_map>

namespace octavo {
namespace {

namespace fs = std::filesystem;

using Readers = std::vector<std::unique_ptr<SafetensorsReader>>;

constexpr size_t kMaxShards = 4096;
constexpr size_t kMaxShardNameBytes = 255;

bool IsInside(const fs::path& path, const fs::path& folder) {
  const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end() && rest != path.end();
}

// Up to ten file names, for the error about a folder without weights.
std::string ListFolder(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end && names.size() < 200;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  if (names.size() > 10) names.resize(10);
  return names.empty() ? "nothing" : fmt::format("{}", fmt::join(names, ", "));
}

Status NoWeights(const std::string& folder) {
  std::error_code error;
  std::string hint;
  if (fs::exists(folder + "/pytorch_model.bin", error) ||
      fs::exists(folder + "/pytorch_model.bin.index.json", error)) {
    hint =
        "; pytorch_model.bin is a pickle, which can run code and is never read: convert it to "
        "safetensors";
  }
  return NotFound(fmt::format("{}: has neither {} nor {}, found {}{}", folder, kSingleShardName,
                              kShardIndexName, ListFolder(folder), hint));
}

Result<std::unique_ptr<SafetensorsReader>> OpenOne(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(SafetensorsReader reader, SafetensorsReader::Open(path));
  return std::make_unique<SafetensorsReader>(std::move(reader));
}

// Tensor name -> shard name, from the index file.
Result<std::map<std::string, std::string>> ReadWeightMap(const std::string& path) {
  JsonLimits limits;
  limits.max_bytes = kMaxSafetensorsHeaderBytes;
  limits.max_depth = 16;
  limits.reject_duplicate_keys = true;
  OCTAVO_ASSIGN_OR_RETURN(const Json json, ParseJsonFile(path, limits));
  const Json* weight_map = Find(json, "weight_map");
  if (weight_map == nullptr || !weight_map->is_object()) {
    return DataLoss(fmt::format("{}: 'weight_map' is missing or no object", path));
  }
  std::map<std::string, std::string> result;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string()) {
      return DataLoss(fmt::format("{}: weight_map['{}'] is {}, want a file name", path, tensor,
                                  shard.type_name()));
    }
    result.emplace(tensor, shard.get<std::string>());
  }
  if (result.empty()) return DataLoss(fmt::format("{}: 'weight_map' is empty", path));
  return result;
}

Status CheckDisjoint(const Readers& readers) {
  std::unordered_map<std::string_view, const SafetensorsReader*> owner;
  for (const auto& reader : readers) {
    for (const SafetensorsEntry& entry : reader->tensors()) {
      const auto [it, is_new] = owner.emplace(entry.name, reader.get());
      if (is_new) continue;
      return DataLoss(fmt::format("{}: tensor '{}' is also in {}, want it in one shard",
                                  reader->file().path(), entry.name, it->second->file().path()));
    }
  }
  return Status::Ok();
}

}  // namespace

Result<std::string> ResolveShardPath(const std::string& folder, const std::string& shard_name) {
  const bool plain = !shard_name.empty() && shard_name.size() <= kMaxShardNameBytes &&
                     shard_name.find('/') == std::string::npos &&
                     shard_name.find('\0') == std::string::npos && shard_name != "." &&
                     shard_name != "..";
  if (!plain) {
    return InvalidArgument(fmt::format("{}: shard name '{}', want a plain file name in that folder",
                                       folder, shard_name.substr(0, kMaxShardNameBytes)));
  }
  const fs::path path = fs::path(folder) / shard_name;
  std::error_code error;
  const fs::path real_path = fs::canonical(path, error);
  if (error) return NotFound(fmt::format("{}: shard: {}", path.string(), error.message()));
  const fs::path real_folder = fs::canonical(folder, error);
  if (error) return NotFound(fmt::format("{}: {}", folder, error.message()));
  // Hub cache: <repo>/snapshots/<revision>/X is a link to <repo>/blobs/<hash>.
  const fs::path snapshots = real_folder.parent_path();
  const bool in_blobs =
      snapshots.filename() == "snapshots" && IsInside(real_path, snapshots.parent_path() / "blobs");
  if (in_blobs || IsInside(real_path, real_folder)) return path.string();
  return InvalidArgument(fmt::format("{}: shard is a link to {}, outside of its folder",
                                     path.string(), real_path.string()));
}

Result<Readers> OpenShards(const std::string& folder) {
  std::error_code error;
  const fs::path single = fs::path(folder) / kSingleShardName;
  const fs::path index = fs::path(folder) / kShardIndexName;
  Readers readers;
  if (fs::exists(single, error)) {
    OCTAVO_ASSIGN_OR_RETURN(auto reader, OpenOne(single.string()));
    readers.push_back(std::move(reader));
    return readers;
  }
  if (!fs::exists(index, error)) return NoWeights(folder);
  OCTAVO_ASSIGN_OR_RETURN(const auto weight_map, ReadWeightMap(index.string()));
  std::map<std::string, const SafetensorsReader*> by_shard;
  for (const auto& [tensor, shard] : weight_map) by_shard.emplace(shard, nullptr);
  if (by_shard.size() > kMaxShards) {
    return DataLoss(
        fmt::format("{}: {} shards, want at most {}", index.string(), by_shard.size(), kMaxShards));
  }
  for (auto& [shard, reader] : by_shard) {
    auto path = ResolveShardPath(folder, shard);
    if (!path.ok()) return std::move(path).status().WithContext(index.string());
    OCTAVO_ASSIGN_OR_RETURN(auto opened, OpenOne(*path));
    reader = opened.get();
    readers.push_back(std::move(opened));
  }
  for (const auto& [tensor, shard] : weight_map) {
    if (by_shard[shard]->Find(tensor) != nullptr) continue;
    return DataLoss(fmt::format("{}: tensor '{}' is not in {} as the index says", index.string(),
                                tensor, shard));
  }
  OCTAVO_RETURN_IF_ERROR(CheckDisjoint(readers));
  return readers;
}

std::string ShardFileName(size_t index, size_t count) {
  if (count == 1) return std::string(kSingleShardName);
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

std::string MakeShardIndexJson(const std::vector<std::pair<std::string, std::string>>& weight_map,
                               uint64_t total_bytes) {
  Json json;
  json["metadata"]["total_size"] = total_bytes;
  json["weight_map"] = Json::object();
  for (const auto& [tensor, shard] : weight_map) json["weight_map"][tensor] = shard;
  return DumpJson(json, 2) + "\n";
}

}  // namespace octavo
