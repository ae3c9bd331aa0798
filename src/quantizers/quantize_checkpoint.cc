// SPDX-License-Identifier: Apache-2.0
// The run: plan, shards, companion files, publish.
#include "quantizers/quantize_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/file.h"
#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "io/shard_index.h"
#include "quantizers/calibrate_layers.h"
#include "quantizers/calibration_algorithm.h"
#include "models/key_center_file.h"
#include "quantizers/carry_over.h"
#include "quantizers/output_folder.h"
#include "quantizers/quantize_plan.h"
#include "quantizers/shard_pipeline.h"
#include "quantizers/shard_writers.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kReportFile = "octavo_quantize.json";
// In the unfinished output: the model that qoq's rotations turn the original into.
constexpr const char* kRotatedFolder = "octavo_rotated";

bool UsesQoq(const QuantizePlan& plan) {
  return std::any_of(plan.choice.recipes.begin(), plan.choice.recipes.end(),
                     [](const ModuleRecipe& recipe) {
                       return recipe.algorithm != nullptr && recipe.algorithm->qoq;
                     });
}

// Which modules are quantized how.
Json FingerprintOf(const ModuleChoice& choice) {
  Json json = Json::array();
  for (const ModuleRecipe& recipe : choice.recipes) {
    Json modules = Json::array();
    for (const std::string& module : choice.modules) {
      if (choice.Find(module) == &recipe) modules.push_back(module);
    }
    json.push_back({{"scheme", recipe.scheme->name},
                    {"form", recipe.form->name},
                    {"group_size", recipe.group_size},
                    {"algorithm", recipe.algorithm_name()},
                    {"damping", recipe.gptq.damping},
                    {"act_order", recipe.gptq.act_order},
                    {"smoothing_strength", recipe.smoothing_strength},
                    {"outlier_threshold", recipe.args().outlier_threshold},
                    {"modules", std::move(modules)}});
  }
  return json;
}

// What the output depends on: schemes and modules, and the identity of the source's files.
Result<std::string> Fingerprint(const QuantizeOptions& options, const QuantizePlan& plan,
                                const Checkpoint& checkpoint) {
  Json json = {{"program", "octavo quantize 2"},
               {"recipes", FingerprintOf(plan.choice)},
               {"ignored", plan.summary.ignored},
               {"kept_columns", options.kept_columns},
               {"source", fs::absolute(checkpoint.path()).lexically_normal().string()}};
  if (NeedsCalibration(plan, options)) {
    OCTAVO_ASSIGN_OR_RETURN(json["calibration"], CalibrationFingerprint(options));
  }
  OCTAVO_ASSIGN_OR_RETURN(json["files"], FilesIdentity(checkpoint));
  return DumpJson(json);
}

uint64_t BytesOfSpec(const TensorSpec& spec) {
  return BytesOf(spec.dtype, static_cast<uint64_t>(spec.shape.NumElements())).value_or(0);
}

struct Run {
  const QuantizeOptions& options;
  const Checkpoint& source;                      // for the files beside the tensors
  std::shared_ptr<const Checkpoint> checkpoint;  // what is quantized: the source, or rotated
  QuantizePlan& plan;
  const OutputFolder& folder;
  const std::string& fingerprint;
};

// Writes what the writer of a shard lacks. A null writer: the shard is finished.
Status WriteShard(const Run& run, const PlannedShard& shard,
                  std::unique_ptr<SafetensorsWriter> writer, PipelineProgress& progress,
                  ThreadPool& pool) {
  if (writer == nullptr) {
    for (const PlannedTensor& tensor : shard.tensors) progress.Add(tensor.source->bytes);
    return Status::Ok();
  }
  const ShardJob job{.checkpoint = run.checkpoint.get(),
                     .shard = &shard,
                     .writer = writer.get(),
                     .progress = &progress,
                     .cancel = run.options.cancel};
  OCTAVO_RETURN_IF_ERROR(RunShard(job, pool));
  return writer->Finish();
}

// Opens a shard unless it is finished, and counts what the run being continued left.
Result<std::unique_ptr<SafetensorsWriter>> OpenOrSkip(const Run& run, const PlannedShard& shard) {
  std::unique_ptr<SafetensorsWriter> writer;
  // A shard appears under its name only when it is whole.
  if (!run.folder.HasFile(shard.file_name)) {
    OCTAVO_ASSIGN_OR_RETURN(writer, OpenShard(shard, run.folder, run.fingerprint));
  }
  for (const TensorSpec& spec : SpecsOf(shard)) {
    if (writer == nullptr || writer->IsComplete(spec.name)) {
      run.plan.summary.resumed_bytes += BytesOfSpec(spec);
    }
  }
  return writer;
}

Status RoundShards(const Run& run, const QuantizeProgress& report, ThreadPool& pool) {
  PipelineProgress progress(run.plan.summary.input_bytes, report);
  for (const PlannedShard& shard : run.plan.shards) {
    OCTAVO_ASSIGN_OR_RETURN(auto writer, OpenOrSkip(run, shard));
    OCTAVO_RETURN_IF_ERROR(WriteShard(run, shard, std::move(writer), progress, pool));
  }
  return Status::Ok();
}

// All shards are open at once, because a layer may lie in any of them.
Status CalibrateShards(const Run& run, const QuantizeProgress& report, ThreadPool& pool) {
  std::vector<std::unique_ptr<SafetensorsWriter>> opened;
  for (const PlannedShard& shard : run.plan.shards) {
    OCTAVO_ASSIGN_OR_RETURN(auto writer, OpenOrSkip(run, shard));
    opened.push_back(std::move(writer));
  }
  ShardWriters writers(run.plan, std::move(opened));
  OCTAVO_ASSIGN_OR_RETURN(run.plan.summary.calibration,
                          CalibrateLayers({.options = &run.options,
                                           .checkpoint = run.checkpoint,
                                           .plan = &run.plan,
                                           .folder = &run.folder,
                                           .writers = &writers,
                                           .pool = &pool,
                                           .progress = &report}));
  // What is left is copied: embeddings, norms, the head.
  const QuantizeProgress silent;
  PipelineProgress progress(run.plan.summary.input_bytes, silent);
  for (size_t i = 0; i < run.plan.shards.size(); ++i) {
    OCTAVO_RETURN_IF_ERROR(
        WriteShard(run, run.plan.shards[i], writers.Take(i), progress, pool));
  }
  return Status::Ok();
}

Json QoqReport(const QoqOptions& options, const std::optional<RotateResult>& rotation) {
  Json report = ToJson(options);
  if (!rotation) return report;
  const auto factors = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  report["residual_rotation"] = factors(rotation->residual);
  report["value_rotation"] = factors(rotation->values);
  return report;
}

// How the checkpoint was made, beside it.
Status WriteReport(const Run& run) {
  const QuantizeResult& summary = run.plan.summary;
  Json shares = Json::array();
  for (const SchemeShare& share : summary.shares) {
    shares.push_back(ToJson(share));
    shares.back()["modules"] = share.modules;
  }
  Json report = {{"scheme", summary.scheme},
                       {"stored_as", summary.stored_as},
                       {"algorithm", summary.algorithm},
                       {"recipe", run.options.recipe ? run.options.recipe->source : Json()},
                       {"shares", shares},
                       {"group_size", summary.group_size == 0 ? Json() : Json(summary.group_size)},
                       {"quantized_modules", summary.quantized_modules},
                       {"ignored", summary.ignored},
                       {"warnings", summary.warnings},
                       {"input_bytes", summary.input_bytes},
                       {"output_bytes", summary.output_bytes},
                       {"bits_per_weight", summary.bits_per_weight},
                       {"calibration", summary.calibration ? ToJson(*summary.calibration) : Json()}};
  if (UsesQoq(run.plan)) report["qoq"] = QoqReport(run.options.qoq, summary.rotation);
  return WriteFileAtomically(run.folder.FilePath(kReportFile), DumpJson(report, 1) + "\n");
}

Status WriteKeyCenters(const Run& run) {
  KeyCenters centers;
  if (!run.plan.summary.calibration) return Status::Ok();
  for (const LayerReport& layer : run.plan.summary.calibration->layers) {
    const KeyCenterReport& center = layer.key_center;
    if (!center.module.empty()) centers[center.module] = center.values;
  }
  if (centers.empty()) return Status::Ok();
  return WriteFileAtomically(run.folder.FilePath(kKeyCenterFile), FormatKeyCenters(centers));
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

Status CheckCalibration(const QuantizeOptions& options, const QuantizePlan& plan) {
  if (!NeedsCalibration(plan, options)) return Status::Ok();
  if (options.calibration != nullptr && !options.calibration->samples.empty()) return Status::Ok();
  return InvalidArgument(fmt::format(
      "{} needs calibration data",
      plan.summary.algorithm != kRoundToNearest ? "algorithm " + plan.summary.algorithm
      : options.kv_cache_scheme.empty()         ? "scheme " + plan.summary.scheme
                                                : "KV cache scheme " + options.kv_cache_scheme));
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
  if (NeedsCalibration(run.plan, run.options)) {
    OCTAVO_RETURN_IF_ERROR(CalibrateShards(run, report, pool));
  } else {
    OCTAVO_RETURN_IF_ERROR(RoundShards(run, report, pool));
  }
  OCTAVO_RETURN_IF_ERROR(WriteIndex(run));
  OCTAVO_RETURN_IF_ERROR(WriteCompanionFiles(run.source, run.folder.working_path()));
  OCTAVO_RETURN_IF_ERROR(WriteKeyCenters(run));
  OCTAVO_RETURN_IF_ERROR(WriteReport(run));
  // config.json goes last: a folder without it opens nowhere.
  const Json quantization = MakeQuantizationConfig(run.plan, run.options);
  OCTAVO_ASSIGN_OR_RETURN(const Json config, MakeQuantizedConfig(*run.checkpoint, quantization));
  return WriteFileAtomically(run.folder.FilePath("config.json"), DumpJson(config, 2) + "\n");
}

bool Rotates(const QuantizeOptions& options, const QuantizePlan& plan) {
  return UsesQoq(plan) && (options.qoq.rotate || options.qoq.rotate_values);
}

RotateOptions RotationOf(const QuantizeOptions& options) {
  return {.residual = options.qoq.rotate,
          .values = options.qoq.rotate_values,
          .cancel = options.cancel,
          .progress = options.rotate_progress};
}

// Writes the rotated model beside the output, opens it and plans anew: the head is no longer tied.
Result<std::shared_ptr<const Checkpoint>> Rotate(const QuantizeOptions& options,
                                                 const Checkpoint& source,
                                                 const OutputFolder& folder, QuantizePlan& plan) {
  ThreadPool pool(options.threads);
  const std::string path = folder.FilePath(kRotatedFolder);
  OCTAVO_ASSIGN_OR_RETURN(RotateResult rotation,
                          RotateCheckpoint(source, RotationOf(options), path, pool));
  OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> rotated, Checkpoint::Open(path));
  const uint64_t input_bytes = plan.summary.input_bytes;
  OCTAVO_ASSIGN_OR_RETURN(plan, MakeQuantizePlan(options, *rotated));
  plan.summary.input_bytes = input_bytes;
  plan.summary.rotation = std::move(rotation);
  return rotated;
}

Status RemoveRotated(const OutputFolder& folder) {
  std::error_code error;
  fs::remove_all(folder.FilePath(kRotatedFolder), error);
  if (!error) return Status::Ok();
  return IoError(fmt::format("{}: remove failed: {}", folder.FilePath(kRotatedFolder), error.message()));
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

bool NeedsCalibration(const QuantizeOptions& options) {
  const QuantizeRecipe recipe = RecipeOf(options);
  return !options.kv_cache_scheme.empty() ||
         std::any_of(recipe.groups.begin(), recipe.groups.end(), [](const RecipeGroup& group) {
           const Scheme* scheme = FindScheme(group.scheme);
           const bool fixed = scheme != nullptr && scheme->args.static_input();
           return fixed || group.algorithm != kRoundToNearest;
         });
}

Json ToJson(const SchemeShare& share) {
  return {{"scheme", share.scheme},
          {"stored_as", share.stored_as},
          {"algorithm", share.algorithm},
          {"group_size", share.group_size == 0 ? Json() : Json(share.group_size)},
          {"quantized_modules", share.modules.size()},
          {"weights", static_cast<int64_t>(share.weights)},
          {"bits_per_weight", share.bits_per_weight}};
}

Result<QuantizeResult> QuantizeCheckpoint(const QuantizeOptions& options,
                                          const QuantizeProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN_OR_RETURN(const std::shared_ptr<const Checkpoint> checkpoint,
                          Checkpoint::Open(options.model));
  OCTAVO_ASSIGN_OR_RETURN(QuantizePlan plan, MakeQuantizePlan(options, *checkpoint));
  OCTAVO_RETURN_IF_ERROR(CheckCalibration(options, plan));
  OCTAVO_RETURN_IF_ERROR(CheckPaths(options));
  if (Rotates(options, plan)) {
    OCTAVO_RETURN_IF_ERROR(DescribeRotation(*checkpoint, RotationOf(options)).status());
  }
  OCTAVO_ASSIGN_OR_RETURN(const std::string fingerprint, Fingerprint(options, plan, *checkpoint));
  OCTAVO_ASSIGN_OR_RETURN(OutputFolder folder,
                          OutputFolder::Create(options.output, {.resume = options.resume,
                                                                .overwrite = options.overwrite,
                                                                .fingerprint = fingerprint}));
  std::shared_ptr<const Checkpoint> original = checkpoint;
  if (Rotates(options, plan)) {
    OCTAVO_ASSIGN_OR_RETURN(original, Rotate(options, *checkpoint, folder, plan));
  }
  const Run run{options, *checkpoint, original, plan, folder, fingerprint};
  OCTAVO_RETURN_IF_ERROR(Execute(run, progress));
  OCTAVO_RETURN_IF_ERROR(RemoveRotated(folder));
  plan.summary.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  OCTAVO_RETURN_IF_ERROR(Approve(run, folder));
  OCTAVO_RETURN_IF_ERROR(RemoveCalibrationState(folder));
  OCTAVO_RETURN_IF_ERROR(folder.Publish());
  return std::move(plan.summary);
}

}  // namespace octavo
