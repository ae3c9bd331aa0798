// SPDX-License-Identifier: Apache-2.0
// The run: plan, shards, companion files, publish.
#include "quantizers/quantize_checkpoint.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "io/shard_index.h"
#include "quantizers/carry_over.h"
#include "quantizers/output_folder.h"
#include "quantizers/quantize_plan.h"
#include "quantizers/shard_pipeline.h"
#include "schemes/quantization_config.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

// What the output depends on: scheme, group, modules, and the identity of the source's files.
Result<std::string> Fingerprint(const QuantizePlan& plan, const Checkpoint& checkpoint) {
  Json json = {{"program", "octavo quantize 1"},
               {"scheme", plan.scheme->name},
               {"form", plan.form->name},
               {"group_size", plan.summary.group_size},
               {"ignored", plan.summary.ignored},
               {"source", fs::absolute(checkpoint.path()).lexically_normal().string()}};
  const MmapFile* previous = nullptr;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (tensor.file == previous) continue;
    previous = tensor.file;
    struct stat info {};
    if (::stat(tensor.file->path().c_str(), &info) != 0) {
      return ErrnoStatus(tensor.file->path(), "stat");
    }
    json["files"].push_back({fs::path(tensor.file->path()).filename().string(), info.st_size,
                             info.st_mtim.tv_sec, info.st_mtim.tv_nsec});
  }
  return DumpJson(json);
}

std::vector<TensorSpec> SpecsOf(const PlannedShard& shard) {
  std::vector<TensorSpec> specs;
  for (const PlannedTensor& tensor : shard.tensors) {
    specs.insert(specs.end(), tensor.outputs.begin(), tensor.outputs.end());
  }
  return specs;
}

uint64_t BytesOfSpec(const TensorSpec& spec) {
  return BytesOf(spec.dtype, static_cast<uint64_t>(spec.shape.NumElements())).value_or(0);
}

struct Run {
  const QuantizeOptions& options;
  const Checkpoint& checkpoint;
  QuantizePlan& plan;
  const OutputFolder& folder;
  const std::string& fingerprint;
};

Status WriteShard(const Run& run, const PlannedShard& shard, PipelineProgress& progress,
                  ThreadPool& pool) {
  const std::vector<TensorSpec> specs = SpecsOf(shard);
  uint64_t& resumed = run.plan.summary.resumed_bytes;
  if (run.folder.HasFile(shard.file_name)) {  // appears under its name only when it is whole
    for (const TensorSpec& spec : specs) resumed += BytesOfSpec(spec);
    for (const PlannedTensor& tensor : shard.tensors) progress.Add(tensor.source->bytes);
    return Status::Ok();
  }
  SafetensorsWriter::Options options;
  options.keep_partial = true;
  options.fingerprint = run.fingerprint;
  OCTAVO_ASSIGN_OR_RETURN(
      const std::unique_ptr<SafetensorsWriter> writer,
      SafetensorsWriter::Create(run.folder.FilePath(shard.file_name), specs, options));
  for (const TensorSpec& spec : specs) {
    if (writer->IsComplete(spec.name)) resumed += BytesOfSpec(spec);
  }
  const ShardJob job{.checkpoint = &run.checkpoint,
                     .plan = &run.plan,
                     .shard = &shard,
                     .writer = writer.get(),
                     .progress = &progress,
                     .cancel = run.options.cancel};
  OCTAVO_RETURN_IF_ERROR(RunShard(job, pool));
  return writer->Finish();
}

Status WriteIndex(const Run& run) {
  if (run.plan.shards.size() == 1) return Status::Ok();
  std::vector<std::pair<std::string, std::string>> weight_map;
  for (const PlannedShard& shard : run.plan.shards) {
    for (const TensorSpec& spec : SpecsOf(shard)) weight_map.emplace_back(spec.name, shard.file_name);
  }
  return WriteFileAtomically(run.folder.FilePath(std::string(kShardIndexName)),
                             MakeShardIndexJson(weight_map, run.plan.summary.output_bytes));
}

// A source inside the output folder would be deleted by --overwrite.
Status CheckPaths(const QuantizeOptions& options) {
  std::error_code error;
  const fs::path model = fs::weakly_canonical(options.model, error);
  const fs::path output = fs::weakly_canonical(options.output, error);
  const auto [in_output, unused] =
      std::mismatch(output.begin(), output.end(), model.begin(), model.end());
  if (in_output != output.end()) return Status::Ok();
  return InvalidArgument(
      fmt::format("{}: the output folder holds the model {}", options.output, options.model));
}

Status Execute(const Run& run, const QuantizeProgress& report) {
  ThreadPool pool(run.options.threads);
  PipelineProgress progress(run.plan.summary.input_bytes, report);
  for (const PlannedShard& shard : run.plan.shards) {
    OCTAVO_RETURN_IF_ERROR(WriteShard(run, shard, progress, pool));
  }
  OCTAVO_RETURN_IF_ERROR(WriteIndex(run));
  OCTAVO_RETURN_IF_ERROR(WriteCompanionFiles(run.checkpoint, run.folder.working_path()));
  // config.json goes last: a folder without it opens nowhere.
  const Json quantization =
      MakeQuantizationConfig(*run.plan.form, run.plan.stored_args, run.plan.summary.ignored);
  OCTAVO_ASSIGN_OR_RETURN(const Json config, MakeQuantizedConfig(run.checkpoint, quantization));
  return WriteFileAtomically(run.folder.FilePath("config.json"), DumpJson(config, 2) + "\n");
}

// Asks the caller for approval; without it nothing is left.
Status Approve(const Run& run, OutputFolder& folder) {
  if (!run.options.approve) return Status::Ok();
  OCTAVO_ASSIGN_OR_RETURN(const bool approved,
                          run.options.approve(folder.working_path(), run.plan.summary));
  if (approved) return Status::Ok();
  OCTAVO_RETURN_IF_ERROR(folder.Discard());
  return FailedPrecondition(fmt::format("{}: not approved, nothing is kept", run.options.output));
}

}  // namespace

Result<QuantizeResult> QuantizeCheckpoint(const QuantizeOptions& options,
                                          const QuantizeProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                          Checkpoint::Open(options.model));
  OCTAVO_ASSIGN_OR_RETURN(QuantizePlan plan, MakeQuantizePlan(options, *checkpoint));
  OCTAVO_RETURN_IF_ERROR(CheckPaths(options));
  OCTAVO_ASSIGN_OR_RETURN(const std::string fingerprint, Fingerprint(plan, *checkpoint));
  OCTAVO_ASSIGN_OR_RETURN(OutputFolder folder,
                          OutputFolder::Create(options.output, {.resume = options.resume,
                                                                .overwrite = options.overwrite,
                                                                .fingerprint = fingerprint}));
  const Run run{options, *checkpoint, plan, folder, fingerprint};
  OCTAVO_RETURN_IF_ERROR(Execute(run, progress));
  plan.summary.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  OCTAVO_RETURN_IF_ERROR(Approve(run, folder));
  OCTAVO_RETURN_IF_ERROR(folder.Publish());
  return std::move(plan.summary);
}

}  // namespace octavo
