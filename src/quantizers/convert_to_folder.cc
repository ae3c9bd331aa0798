// SPDX-License-Identifier: Apache-2.0
// Quantized matrices in a Hugging Face folder, shard by shard.
#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "base/file.h"
#include "io/safetensors_writer.h"
#include "io/shard_index.h"
#include "quantizers/carry_over.h"
#include "quantizers/convert_job.h"
#include "quantizers/module_writer.h"
#include "quantizers/output_folder.h"
#include "schemes/quantization_config.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

Status CopyTensor(const ConvertJob& job, const StoredTensor& tensor, SafetensorsWriter& writer) {
  constexpr uint64_t kBlockBytes = uint64_t{16} << 20;
  std::vector<std::byte> block;
  for (uint64_t at = 0; at < tensor.bytes; at += block.size()) {
    block.resize(std::min(kBlockBytes, tensor.bytes - at));
    OCTAVO_RETURN_IF_ERROR(tensor.file->ReadRange(tensor.offset + at, block.size(), block.data()));
    OCTAVO_RETURN_IF_ERROR(writer.WriteAt(tensor.name, at, block));
    OCTAVO_RETURN_IF_ERROR(job.advance(block.size()));
  }
  return writer.MarkComplete(tensor.name);
}

// The items of one source file become one file of the same name.
using Shards = std::map<std::string, std::vector<const ConvertItem*>>;

struct ShardResult {
  std::vector<std::pair<std::string, std::string>> weight_map;
  uint64_t bytes = 0;
};

Status WriteShard(const ConvertJob& job, const ModuleWriter& modules, const OutputFolder& folder,
                  const Shards::value_type& shard, ShardResult& result) {
  std::vector<TensorSpec> specs;
  for (const ConvertItem* item : shard.second) {
    if (item->source == nullptr) {
      specs.push_back({item->tensor->name, item->tensor->dtype, item->tensor->shape});
      continue;
    }
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<TensorSpec> tensors, modules.Tensors(*item));
    specs.insert(specs.end(), tensors.begin(), tensors.end());
  }
  OCTAVO_ASSIGN_OR_RETURN(const auto writer,
                          SafetensorsWriter::Create(folder.FilePath(shard.first), specs, {}));
  for (const ConvertItem* item : shard.second) {
    OCTAVO_RETURN_IF_ERROR(item->source == nullptr ? CopyTensor(job, *item->tensor, *writer)
                                                   : modules.Write(*item, *writer));
  }
  for (const TensorSpec& spec : specs) result.weight_map.emplace_back(spec.name, shard.first);
  result.bytes += writer->data_bytes();
  return writer->Finish();
}

Status WriteFolder(const ConvertJob& job, const ModuleWriter& modules, const OutputFolder& folder,
                   ConvertResult& counts) {
  Shards shards;
  for (const ConvertItem& item : job.items) {
    shards[fs::path(item.tensor->file->path()).filename().string()].push_back(&item);
    (item.source == nullptr ? counts.copied : counts.moved) += 1;
  }
  ShardResult written;
  for (const auto& shard : shards) {
    OCTAVO_RETURN_IF_ERROR(WriteShard(job, modules, folder, shard, written));
  }
  counts.output_bytes = written.bytes;
  if (shards.size() > 1) {
    OCTAVO_RETURN_IF_ERROR(
        WriteFileAtomically(folder.FilePath(std::string(kShardIndexName)),
                            MakeShardIndexJson(written.weight_map, written.bytes)));
  }
  OCTAVO_RETURN_IF_ERROR(WriteCompanionFiles(*job.checkpoint, folder.working_path()));
  std::vector<std::string> dense = LinearModules(*job.checkpoint);
  for (std::string& router : RouterModules(*job.checkpoint)) dense.push_back(std::move(router));
  OCTAVO_ASSIGN_OR_RETURN(const Json quantization, modules.Config(dense));
  OCTAVO_ASSIGN_OR_RETURN(const Json config, MakeQuantizedConfig(*job.checkpoint, quantization));
  return WriteFileAtomically(folder.FilePath("config.json"), DumpJson(config, 2) + "\n");
}

Result<std::unique_ptr<ModuleWriter>> MakeWriter(const ConvertJob& job) {
  if (job.options->to == "fp8") return MakeFp8Writer(job);
  if (job.options->to == "omniserve") return MakeOmniserveWriter(job);
  if (job.options->to == "qoq") return MakeQoqWriter(job);
  return MakeIntegerWriter(job);
}

}  // namespace

Status ConvertToFolder(const ConvertJob& job, ConvertResult& result) {
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<ModuleWriter> modules, MakeWriter(job));
  for (const ConvertItem& item : job.items) {  // refusals come before the first byte
    if (item.source != nullptr) OCTAVO_RETURN_IF_ERROR(modules->Tensors(item).status());
  }
  OCTAVO_ASSIGN_OR_RETURN(OutputFolder folder,
                          OutputFolder::Create(job.options->output,
                                               {.resume = false,
                                                .overwrite = job.options->overwrite,
                                                .fingerprint = "convert " + job.options->to}));
  OCTAVO_RETURN_IF_ERROR(WriteFolder(job, *modules, folder, result));
  return folder.Publish();
}

}  // namespace octavo
