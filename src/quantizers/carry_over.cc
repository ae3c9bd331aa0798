// SPDX-License-Identifier: Apache-2.0
// Copies or makes the files beside the tensors.
#include "quantizers/carry_over.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "quantizers/gguf_companions.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 11> kNames = {
    "generation_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "preprocessor_config.json", "processor_config.json",
    "chat_template.json", "NOTICE", "USE_POLICY.md"};

constexpr size_t kMaxCompanionBytes = size_t{256} << 20;

}  // namespace

bool IsCompanionFile(std::string_view name) {
  if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) return true;
  return name.starts_with("tokenizer") || name.starts_with("LICENSE") || name.ends_with(".jinja") ||
         name.ends_with(".model") || name.ends_with(".tiktoken");
}

Result<Json> MakeQuantizedConfig(const Checkpoint& checkpoint, const Json& quantization_config) {
  Json config = checkpoint.config();
  if (!config.is_object()) return InvalidArgument(checkpoint.path() + ": config.json is no object");
  OCTAVO_ASSIGN_OR_RETURN(const std::string new_name, GetStringOr(config, "dtype", ""));
  OCTAVO_ASSIGN_OR_RETURN(const std::string old_name, GetStringOr(config, "torch_dtype", ""));
  if (!new_name.empty() || !old_name.empty()) {
    config["torch_dtype"] = new_name.empty() ? old_name : new_name;
    config["dtype"] = config["torch_dtype"];
  }
  config["quantization_config"] = quantization_config;
  if (!quantization_config.is_null()) return config;
  config.erase("quantization_config");
  config.erase("compression_config");  // the old name, which readers take too
  return config;
}

Status WriteCompanionFiles(const Checkpoint& checkpoint, const std::string& folder) {
  if (checkpoint.is_gguf()) return WriteGgufCompanions(checkpoint, folder);
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(checkpoint.path(), error)) {
    const std::string name = entry.path().filename().string();
    if (!IsCompanionFile(name) || !entry.is_regular_file(error)) continue;
    OCTAVO_ASSIGN_OR_RETURN(const std::string content,
                            ReadFile(entry.path().string(), kMaxCompanionBytes));
    OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(folder + "/" + name, content));
  }
  if (error) return IoError(fmt::format("{}: list failed: {}", checkpoint.path(), error.message()));
  return Status::Ok();
}

Result<Json> FilesIdentity(const Checkpoint& checkpoint) {
  Json files = Json::array();
  const MmapFile* previous = nullptr;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (tensor.file == previous) continue;
    previous = tensor.file;
    struct stat info {};
    if (::stat(tensor.file->path().c_str(), &info) != 0) {
      return ErrnoStatus(tensor.file->path(), "stat");
    }
    files.push_back({std::filesystem::path(tensor.file->path()).filename().string(), info.st_size,
                     info.st_mtim.tv_sec, info.st_mtim.tv_nsec});
  }
  return files;
}

}  // namespace octavo
