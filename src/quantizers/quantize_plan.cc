// SPDX-License-Identifier: Apache-2.0
// Lays out tensors and shards for the modules' schemes.
#include "quantizers/quantize_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "io/shard_index.h"
#include "schemes/quantization_config.h"

namespace octavo {
namespace {

// Shards of a checkpoint that has none of its own (GGUF), as Hugging Face cuts them.
constexpr uint64_t kShardBytes = 5'000'000'000;

constexpr std::string_view kWeight = ".weight";

std::vector<int32_t> KeptColumnsOf(const QuantizeOptions& options, const std::string& module,
                                   const StoredTensor& tensor) {
  const auto it = options.kept_columns.find(module);
  if (it == options.kept_columns.end()) return {};
  std::vector<int32_t> columns = it->second;
  std::erase_if(columns, [&](int32_t column) { return column < 0 || column >= tensor.cols(); });
  return columns;
}

TargetModule TargetOf(const QuantizeOptions& options, const ModuleRecipe& recipe,
                      const Checkpoint& checkpoint, const std::string& name, const StoredTensor& tensor) {
  return {.name = name,
          .n = tensor.rows(),
          .k = tensor.cols(),
          .dtype = checkpoint.is_gguf() ? DType::kBF16 : tensor.dtype,
          .args = recipe.args(),
          .kept_columns = KeptColumnsOf(options, name, tensor)};
}

// The tensors that store a module.
std::vector<TensorSpec> OutputsOf(const ModuleRecipe& recipe, TargetModule module) {
  module.args = recipe.stored_args();
  return recipe.form->tensors(module);
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
void CollectWarnings(const Checkpoint& checkpoint, QuantizePlan& plan) {
  for (const ModuleRecipe& recipe : plan.choice.recipes) {
    const bool packed = recipe.form->format == "pack-quantized";
    const bool block = recipe.form->args.weights.strategy == Strategy::kBlock;
    const int64_t unit = block ? 128 : 32;
    if (!packed && !block) continue;
    for (const std::string& module : plan.choice.modules) {
      const StoredTensor& tensor = *checkpoint.Find(module + std::string(kWeight));
      if (plan.choice.Find(module) != &recipe) continue;
      if (tensor.rows() % unit == 0 && tensor.cols() % unit == 0) continue;
      plan.summary.warnings.push_back(
          fmt::format("{} is [{}, {}]: vLLM's kernels for {} want multiples of {}", module,
                      tensor.rows(), tensor.cols(), recipe.form->name, unit));
      break;
    }
  }
}

// `value` of the shares where they agree, else `other`.
template <typename T, typename Fn>
T Common(const std::vector<SchemeShare>& shares, const T& other, const Fn& value) {
  const bool same = std::all_of(shares.begin(), shares.end(), [&](const SchemeShare& share) {
    return value(share) == value(shares.front());
  });
  return same ? T(value(shares.front())) : other;
}

std::vector<SchemeShare> EmptyShares(const ModuleChoice& choice) {
  std::vector<SchemeShare> shares;
  for (const ModuleRecipe& recipe : choice.recipes) {
    shares.push_back({.scheme = std::string(recipe.scheme->name),
                      .stored_as = std::string(recipe.form->name),
                      .algorithm = std::string(recipe.algorithm_name()),
                      .group_size = recipe.group_size,
                      .wanted_group_size = recipe.wanted_group_size,
                      .modules = {}});
  }
  return shares;
}

void AddKvScales(const Checkpoint& checkpoint, const std::string& module, PlannedTensor& planned) {
  const std::optional<KvScaleNames> names = KvScalesOf(module);
  if (!names) return;
  const DType type = CopiedSpec(checkpoint, *planned.source).dtype;
  planned.outputs.push_back({names->k, type, Shape{1}});
  planned.outputs.push_back({names->v, type, Shape{1}});
}

Status CheckKvScheme(const QuantizeOptions& options) {
  if (options.kv_cache_scheme.empty() || options.kv_cache_scheme == "fp8") return Status::Ok();
  return InvalidArgument(fmt::format("KV cache scheme '{}', want fp8", options.kv_cache_scheme));
}

// What follows from the shares once their bits have been summed up in bits_per_weight.
void FinishSummary(QuantizeResult& summary) {
  double bits = 0;
  double weights = 0;
  for (SchemeShare& share : summary.shares) {
    bits += share.bits_per_weight;
    weights += share.weights;
    share.bits_per_weight /= share.weights;
    summary.quantized_modules += std::ssize(share.modules);
  }
  summary.bits_per_weight = bits / weights;
  const std::string mixed = "mixed";
  const auto& shares = summary.shares;
  summary.scheme = Common(shares, mixed, [](const SchemeShare& s) { return s.scheme; });
  summary.stored_as = Common(shares, mixed, [](const SchemeShare& s) { return s.stored_as; });
  summary.algorithm = Common(shares, mixed, [](const SchemeShare& s) { return s.algorithm; });
  summary.group_size = Common(shares, 0, [](const SchemeShare& s) { return s.group_size; });
  summary.wanted_group_size =
      Common(shares, 0, [](const SchemeShare& s) { return s.wanted_group_size; });
}

}  // namespace

uint64_t BytesOfSpecs(const std::vector<TensorSpec>& specs) {
  uint64_t bytes = 0;
  for (const TensorSpec& spec : specs) {
    bytes += BytesOf(spec.dtype, static_cast<uint64_t>(spec.shape.NumElements())).value_or(0);
  }
  return bytes;
}

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
  OCTAVO_RETURN_IF_ERROR(CheckKvScheme(options));
  QuantizePlan plan;
  OCTAVO_ASSIGN_OR_RETURN(plan.choice, ChooseModules(options, checkpoint));
  QuantizeResult& summary = plan.summary;
  summary.ignored = plan.choice.ignored;
  summary.shares = EmptyShares(plan.choice);
  std::vector<PlannedTensor> tensors;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    PlannedTensor& planned = tensors.emplace_back();
    planned.source = &tensor;
    const std::string name =
        tensor.name.ends_with(kWeight) ? tensor.name.substr(0, tensor.name.size() - kWeight.size())
                                       : std::string();
    planned.recipe = plan.choice.Find(name);
    if (planned.recipe != nullptr) {
      planned.module = TargetOf(options, *planned.recipe, checkpoint, name, tensor);
      planned.outputs = OutputsOf(*planned.recipe, *planned.module);
      SchemeShare& share = summary.shares[plan.choice.recipe_of.at(name)];
      share.modules.push_back(name);
      share.weights += static_cast<double>(tensor.shape.NumElements());
      share.bits_per_weight += 8.0 * static_cast<double>(BytesOfSpecs(planned.outputs));
    } else {
      planned.outputs = {CopiedSpec(checkpoint, tensor)};
    }
    if (!options.kv_cache_scheme.empty()) AddKvScales(checkpoint, name, planned);
    summary.input_bytes += tensor.bytes;
    summary.output_bytes += BytesOfSpecs(planned.outputs);
  }
  FinishSummary(summary);
  AssignShards(checkpoint, std::move(tensors), plan);
  CollectWarnings(checkpoint, plan);
  return plan;
}

std::optional<KvScaleNames> KvScalesOf(const std::string& module) {
  constexpr std::string_view kKeys = ".k_proj";
  if (!module.ends_with(kKeys)) return std::nullopt;
  const std::string attention = module.substr(0, module.size() - kKeys.size());
  return KvScaleNames{.k = attention + ".k_scale", .v = attention + ".v_scale"};
}

QuantArgs KvCacheArgs() {
  return {.num_bits = 8, .type = QuantType::kFloat, .strategy = Strategy::kTensor};
}

bool NeedsCalibration(const QuantizePlan& plan, const QuantizeOptions& options) {
  const auto& recipes = plan.choice.recipes;
  return !options.kv_cache_scheme.empty() ||
         std::any_of(recipes.begin(), recipes.end(), [](const ModuleRecipe& recipe) {
           return recipe.algorithm != nullptr || recipe.args().static_input();
         });
}

Json MakeQuantizationConfig(const QuantizePlan& plan, const QuantizeOptions& options) {
  // Schemes that differ in algorithm only are stored alike.
  std::vector<ConfigGroup> groups;
  for (const ModuleRecipe& recipe : plan.choice.recipes) {
    const SchemeArgs args = recipe.stored_args();
    auto group = std::find_if(groups.begin(), groups.end(), [&](const ConfigGroup& other) {
      return other.scheme == recipe.form && other.args == args;
    });
    if (group == groups.end()) {
      group = groups.insert(groups.end(), {.scheme = recipe.form, .args = args, .modules = {}});
    }
    for (const std::string& module : plan.choice.modules) {
      if (plan.choice.Find(module) == &recipe) group->modules.push_back(module);
    }
  }
  Json config = MakeQuantizationConfig(groups, plan.choice.ignored);
  if (!options.kv_cache_scheme.empty()) config["kv_cache_scheme"] = ToJson(KvCacheArgs());
  return config;
}

}  // namespace octavo
