// SPDX-License-Identifier: Apache-2.0
// Picks scheme, group size, modules and shards.
#include "quantizers/quantize_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <unordered_set>
#include <utility>

#include "io/shard_index.h"
#include "schemes/module_matcher.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

// Shards of a checkpoint that has none of its own (GGUF), as Hugging Face cuts them.
constexpr uint64_t kShardBytes = 5'000'000'000;

Status ChooseSchemes(const QuantizeOptions& options, QuantizePlan& plan) {
  plan.scheme = FindScheme(options.scheme);
  if (plan.scheme == nullptr || !plan.scheme->writable()) {
    return InvalidArgument(fmt::format("scheme '{}': {} (want one of {})", options.scheme,
                                       plan.scheme == nullptr ? "unknown" : "cannot be written",
                                       WritableSchemeNames()));
  }
  plan.form = plan.scheme;
  if (options.as.empty() || options.as == options.scheme) return Status::Ok();
  if (options.as != "W8A8" || plan.scheme->to_w8a8 == nullptr) {
    return InvalidArgument(
        fmt::format("scheme {} cannot be stored as '{}'", options.scheme, options.as));
  }
  plan.form = FindScheme("W8A8");
  return Status::Ok();
}

// "X has N columns" for the first module that `group_size` does not divide; empty if there is none.
std::string Offender(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                     int group_size) {
  for (const std::string& module : modules) {
    const StoredTensor* tensor = checkpoint.Find(module + ".weight");
    if (tensor != nullptr && tensor->cols() % group_size != 0) {
      return fmt::format("{} has {} columns", module, tensor->cols());
    }
  }
  return "";
}

Status ChooseGroup(const QuantizeOptions& options, const Checkpoint& checkpoint,
                   const std::vector<std::string>& modules, QuantizePlan& plan) {
  const bool grouped = plan.scheme->args.weights.strategy == Strategy::kGroup;
  if (!grouped) {
    if (options.group_size == 0) return Status::Ok();
    return InvalidArgument(fmt::format("scheme {} has no groups, but a group size of {} is given",
                                       plan.scheme->name, options.group_size));
  }
  QuantizeResult& summary = plan.summary;
  const int wanted =
      options.group_size == 0 ? plan.scheme->args.weights.group_size : options.group_size;
  if (wanted < 16 || wanted > (1 << 16) || wanted % 16 != 0) {
    return InvalidArgument(fmt::format("group size {}, want a multiple of 16", wanted));
  }
  summary.wanted_group_size = wanted;
  summary.group_size = ChooseGroupSize(checkpoint, modules, wanted);
  if (summary.group_size == wanted) return Status::Ok();
  if (options.strict || summary.group_size == 0) {
    return InvalidArgument(fmt::format(
        "group size {} does not divide every layer: {}{}", wanted,
        Offender(checkpoint, modules, wanted),
        summary.group_size == 0 ? "; nor do 128, 64 and 32"
                                : fmt::format("; {} would", summary.group_size)));
  }
  return Status::Ok();
}

// Activations of block schemes have a scale per 128 columns too, and other engines cannot cut them.
Status CheckBlocks(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                   const QuantizePlan& plan) {
  const QuantArgs& args = plan.scheme->args.weights;
  if (args.strategy != Strategy::kBlock) return Status::Ok();
  const std::string offender = Offender(checkpoint, modules, args.block_cols);
  if (offender.empty()) return Status::Ok();
  return InvalidArgument(fmt::format("scheme {} wants columns in multiples of {}: {}",
                                     plan.scheme->name, args.block_cols, offender));
}

// Splits the linear modules into those to quantize and those that stay dense.
Result<std::vector<std::string>> ChooseModules(const QuantizeOptions& options,
                                               const Checkpoint& checkpoint,
                                               QuantizeResult& summary) {
  std::vector<std::string> patterns;
  for (const std::string& pattern : options.ignore) {
    patterns.push_back(pattern.starts_with("re:") ? pattern : "re:" + pattern);
  }
  OCTAVO_ASSIGN_OR_RETURN(const ModuleMatcher ignore, ModuleMatcher::Compile(patterns));
  summary.ignored = {"lm_head"};  // also listed when tied, as llm-compressor does
  std::vector<std::string> chosen;
  for (std::string& module : LinearModules(checkpoint)) {
    if (module == "lm_head") continue;
    OCTAVO_ASSIGN_OR_RETURN(const ModuleMatcher::Match match, ignore.Find(module, ""));
    auto& list = match == ModuleMatcher::Match::kNone ? chosen : summary.ignored;
    list.push_back(std::move(module));
  }
  for (std::string& module : RouterModules(checkpoint)) summary.ignored.push_back(std::move(module));
  if (!chosen.empty()) return chosen;
  return InvalidArgument(
      fmt::format("{}: no linear layer is left to quantize", checkpoint.path()));
}

TargetModule TargetOf(const QuantizePlan& plan, const Checkpoint& checkpoint,
                      const std::string& name, const StoredTensor& tensor) {
  TargetModule module{.name = name,
                      .n = tensor.rows(),
                      .k = tensor.cols(),
                      .dtype = checkpoint.is_gguf() ? DType::kBF16 : tensor.dtype,
                      .args = plan.scheme->args};
  if (plan.summary.group_size != 0) module.args.weights.group_size = plan.summary.group_size;
  return module;
}

// A TargetModule in terms of the stored form.
TargetModule FormOf(const QuantizePlan& plan, TargetModule module) {
  if (plan.form != plan.scheme) module.args = plan.form->args;
  return module;
}

uint64_t BytesOfSpecs(const std::vector<TensorSpec>& specs) {
  uint64_t bytes = 0;
  for (const TensorSpec& spec : specs) {
    bytes += BytesOf(spec.dtype, static_cast<uint64_t>(spec.shape.NumElements())).value_or(0);
  }
  return bytes;
}

// The source's shards keep their names; a GGUF is cut by output size.
void AssignShards(const Checkpoint& checkpoint, std::vector<PlannedTensor> tensors,
                  QuantizePlan& plan) {
  uint64_t shard_bytes = 0;
  const MmapFile* file = nullptr;
  for (PlannedTensor& tensor : tensors) {
    const uint64_t bytes = BytesOfSpecs(tensor.outputs);
    const bool full = checkpoint.is_gguf() ? shard_bytes > 0 && shard_bytes + bytes > kShardBytes
                                           : tensor.source->file != file;
    if (plan.shards.empty() || full) {
      plan.shards.emplace_back();
      shard_bytes = 0;
      file = tensor.source->file;
      plan.shards.back().file_name = std::filesystem::path(file->path()).filename().string();
    }
    shard_bytes += bytes;
    plan.shards.back().tensors.push_back(std::move(tensor));
  }
  if (!checkpoint.is_gguf()) return;
  for (size_t i = 0; i < plan.shards.size(); ++i) {
    plan.shards[i].file_name = ShardFileName(i, plan.shards.size());
  }
}

// Limits of vLLM's kernels on what is otherwise a legal checkpoint.
void CollectWarnings(QuantizePlan& plan) {
  const bool packed = plan.form->format == "pack-quantized";
  const bool block = plan.stored_args.weights.strategy == Strategy::kBlock;
  const int64_t unit = block ? 128 : 32;
  if (!packed && !block) return;
  for (const PlannedShard& shard : plan.shards) {
    for (const PlannedTensor& tensor : shard.tensors) {
      if (!tensor.module || (tensor.module->n % unit == 0 && tensor.module->k % unit == 0)) continue;
      plan.summary.warnings.push_back(fmt::format(
          "{} is [{}, {}]: vLLM's kernels for {} want multiples of {}", tensor.module->name,
          tensor.module->n, tensor.module->k, plan.form->name, unit));
      return;
    }
  }
}

}  // namespace

TensorSpec CopiedSpec(const Checkpoint& checkpoint, const StoredTensor& tensor) {
  return {tensor.name, checkpoint.is_gguf() ? DType::kBF16 : tensor.dtype, tensor.shape};
}

Result<QuantizePlan> MakeQuantizePlan(const QuantizeOptions& options, const Checkpoint& checkpoint) {
  OCTAVO_ASSIGN_OR_RETURN(const QuantizationConfig config,
                          QuantizationConfig::FromCheckpoint(checkpoint));
  if (!config.method().empty()) {
    return FailedPrecondition(fmt::format("{}: is quantized already ({})", checkpoint.path(),
                                          config.method()));
  }
  QuantizePlan plan;
  OCTAVO_RETURN_IF_ERROR(ChooseSchemes(options, plan));
  QuantizeResult& summary = plan.summary;
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::string> modules,
                          ChooseModules(options, checkpoint, summary));
  OCTAVO_RETURN_IF_ERROR(ChooseGroup(options, checkpoint, modules, plan));
  OCTAVO_RETURN_IF_ERROR(CheckBlocks(checkpoint, modules, plan));
  const std::unordered_set<std::string> targets(modules.begin(), modules.end());

  std::vector<PlannedTensor> tensors;
  uint64_t quantized_bytes = 0;
  double quantized_weights = 0;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    PlannedTensor& planned = tensors.emplace_back();
    planned.source = &tensor;
    constexpr std::string_view kWeight = ".weight";
    const std::string name =
        tensor.name.ends_with(kWeight) ? tensor.name.substr(0, tensor.name.size() - kWeight.size())
                                       : std::string();
    if (targets.contains(name)) {
      planned.module = TargetOf(plan, checkpoint, name, tensor);
      planned.outputs = plan.form->tensors(FormOf(plan, *planned.module));
      quantized_bytes += BytesOfSpecs(planned.outputs);
      quantized_weights += static_cast<double>(tensor.shape.NumElements());
      ++summary.quantized_modules;
    } else {
      planned.outputs = {CopiedSpec(checkpoint, tensor)};
    }
    summary.input_bytes += tensor.bytes;
    summary.output_bytes += BytesOfSpecs(planned.outputs);
  }
  summary.scheme = plan.scheme->name;
  summary.stored_as = plan.form->name;
  summary.bits_per_weight = 8.0 * static_cast<double>(quantized_bytes) / quantized_weights;
  plan.stored_args = plan.form->args;
  if (plan.form == plan.scheme && summary.group_size != 0) {
    plan.stored_args.weights.group_size = summary.group_size;
  }
  AssignShards(checkpoint, std::move(tensors), plan);
  CollectWarnings(plan);
  return plan;
}

}  // namespace octavo
