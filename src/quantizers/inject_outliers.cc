// SPDX-License-Identifier: Apache-2.0
// Finds the norms and their readers, then copies the checkpoint with scaled columns.
#include "quantizers/inject_outliers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <unordered_map>
#include <utility>

#include "base/file.h"
#include "io/hf_config.h"
#include "io/shard_index.h"
#include "quantizers/carry_over.h"
#include "quantizers/layer_modules.h"
#include "quantizers/layer_transform.h"
#include "quantizers/output_folder.h"
#include "quantizers/shard_writers.h"
#include "schemes/weight_source.h"

namespace octavo {
namespace {

// Rows of about this many values are read and written at a time.
constexpr int64_t kBlockElems = int64_t{4} << 20;

// `count` of [0, size), ascending; the same on every machine.
std::vector<int64_t> ChooseDimensions(int64_t size, int64_t count, uint64_t seed) {
  std::vector<int64_t> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    std::swap(all[i], all[i + random() % (all.size() - i)]);
  }
  all.resize(static_cast<size_t>(count));
  std::sort(all.begin(), all.end());
  return all;
}

// What each changed tensor is multiplied by: one factor per column of a matrix, per value of a vector.
using Factors = std::unordered_map<std::string, std::vector<float>>;

class Injection {
 public:
  Injection(const InjectOptions& options, const Checkpoint& checkpoint, InjectResult& result)
      : options_(options), checkpoint_(checkpoint), result_(result) {}

  // Every site of every layer that a norm feeds.
  Status Plan(const QuantizePlan& plan) {
    OCTAVO_ASSIGN_OR_RETURN(const Json json, NormalizeConfig(checkpoint_.config()));
    OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(json));
    OCTAVO_ASSIGN_OR_RETURN(const ModelConfig config, arch->parse_config(json));
    if (options_.dims > config.hidden_size) {
      return InvalidArgument(fmt::format("{} outlier dimensions of {}", options_.dims, config.hidden_size));
    }
    result_.dimensions = ChooseDimensions(config.hidden_size, options_.dims, options_.seed);
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<LayerModules> layers,
                            FindLayerModules(*arch, config, checkpoint_, plan));
    for (const LayerModules& layer : layers) {
      for (const LayerSite& site : layer.sites) {
        if (site.norm) OCTAVO_RETURN_IF_ERROR(PlanSite(layer, site));
      }
    }
    if (result_.norms > 0) return Status::Ok();
    return FailedPrecondition(fmt::format("{}: no norm of this architecture feeds linear layers alone",
                                          checkpoint_.path()));
  }

  Status WriteTensor(const StoredTensor& tensor, SafetensorsWriter& writer,
                     const std::function<void(uint64_t)>& advance) const {
    const uint64_t row_bytes = tensor.RowBytes();
    const int64_t block = std::max<int64_t>(1, kBlockElems / std::max<int64_t>(tensor.cols(), 1));
    std::vector<std::byte> bytes;
    for (int64_t row = 0; row < tensor.rows(); row += block) {
      if (options_.cancel != nullptr && options_.cancel->load()) return Cancelled("interrupted");
      const int64_t count = std::min(block, tensor.rows() - row);
      bytes.resize(static_cast<size_t>(count) * row_bytes);
      OCTAVO_RETURN_IF_ERROR(checkpoint_.ReadRowsBytes(tensor, row, count, bytes.data()));
      if (const auto it = factors_.find(tensor.name); it != factors_.end()) {
        OCTAVO_RETURN_IF_ERROR(ScaleRows(tensor, it->second, row, count, bytes));
      }
      OCTAVO_RETURN_IF_ERROR(writer.WriteAt(tensor.name, static_cast<uint64_t>(row) * row_bytes, bytes));
      advance(bytes.size());
    }
    return writer.MarkComplete(tensor.name);
  }

 private:
  Status PlanSite(const LayerModules& layer, const LayerSite& site) {
    const std::string norm = site.producer + ".weight";
    const StoredTensor* tensor = checkpoint_.Find(norm);
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<float> values, ReadOriginal(checkpoint_, norm));
    std::vector<float> grow(values.size(), 1.0f);
    std::vector<float> shrink(values.size(), 1.0f);
    for (const int64_t dimension : result_.dimensions) {
      const auto i = static_cast<size_t>(dimension);
      if (i >= values.size() || values[i] == 0) continue;
      const float scaled = RoundToDType(tensor->dtype, values[i] * options_.factor);
      if (!std::isfinite(scaled)) {
        return InvalidArgument(fmt::format("tensor '{}': {} times {} is beyond {}", norm, values[i],
                                           options_.factor, NameOf(tensor->dtype)));
      }
      grow[i] = scaled / values[i];  // the readers take up what rounding lost
      shrink[i] = values[i] / scaled;
    }
    const std::string bias = site.producer + ".bias";
    if (checkpoint_.Find(bias) != nullptr) factors_[bias] = grow;
    factors_[norm] = std::move(grow);
    result_.norms += 1;
    for (const size_t index : site.consumers) {
      factors_[layer.modules[index].name + ".weight"] = shrink;
      result_.linears += 1;
    }
    return Status::Ok();
  }

  Status ScaleRows(const StoredTensor& tensor, const std::vector<float>& factors, int64_t row_begin,
                   int64_t count, std::vector<std::byte>& bytes) const {
    const int64_t cols = tensor.cols();
    const bool vector = tensor.shape.rank() == 1;  // [n] has n rows of one value
    std::vector<float> values(static_cast<size_t>(count * cols));
    OCTAVO_RETURN_IF_ERROR(checkpoint_.ReadRowsF32(tensor, row_begin, count, values.data()));
    for (int64_t i = 0; i < count * cols; ++i) {
      const auto factor = static_cast<size_t>(vector ? row_begin + i : i % cols);
      values[static_cast<size_t>(i)] *= factors[factor];
    }
    bytes = EncodeFloats(tensor.dtype, values);
    return Status::Ok();
  }

  const InjectOptions& options_;
  const Checkpoint& checkpoint_;
  InjectResult& result_;
  Factors factors_;
};

Status WriteShards(const QuantizePlan& plan, const Injection& injection, const OutputFolder& folder,
                   const std::function<void(uint64_t)>& advance) {
  std::vector<std::pair<std::string, std::string>> weight_map;
  uint64_t total = 0;
  for (const PlannedShard& shard : plan.shards) {
    std::vector<TensorSpec> specs;
    for (const PlannedTensor& tensor : shard.tensors) {
      specs.push_back({tensor.source->name, tensor.source->dtype, tensor.source->shape});
      weight_map.emplace_back(tensor.source->name, shard.file_name);
    }
    OCTAVO_ASSIGN_OR_RETURN(const auto writer,
                            SafetensorsWriter::Create(folder.FilePath(shard.file_name), specs, {}));
    for (const PlannedTensor& tensor : shard.tensors) {
      OCTAVO_RETURN_IF_ERROR(injection.WriteTensor(*tensor.source, *writer, advance));
    }
    total += writer->data_bytes();
    OCTAVO_RETURN_IF_ERROR(writer->Finish());
  }
  if (plan.shards.size() == 1) return Status::Ok();
  return WriteFileAtomically(folder.FilePath(std::string(kShardIndexName)),
                             MakeShardIndexJson(weight_map, total));
}

Status CheckOptions(const InjectOptions& options, const Checkpoint& checkpoint) {
  if (options.dims < 1) return InvalidArgument(fmt::format("{} outlier dimensions", options.dims));
  if (!std::isfinite(options.factor) || options.factor <= 0) {
    return InvalidArgument(fmt::format("factor {}: want a positive number", options.factor));
  }
  if (!checkpoint.is_gguf()) return Status::Ok();
  return InvalidArgument(checkpoint.path() + ": is a GGUF file; octavo import expands it into a folder");
}

}  // namespace

Result<InjectResult> InjectOutliers(const InjectOptions& options,
                                    const std::function<void(uint64_t, uint64_t)>& progress) {
  OCTAVO_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(options.model));
  OCTAVO_RETURN_IF_ERROR(CheckOptions(options, *checkpoint));
  // The plan of a quantization knows which tensors are linear layers, and in which file each lies.
  QuantizeOptions every_linear;
  every_linear.model = options.model;
  every_linear.output = options.output;
  every_linear.scheme = "W8A8";
  OCTAVO_ASSIGN_OR_RETURN(const QuantizePlan plan, MakeQuantizePlan(every_linear, *checkpoint));
  InjectResult result;
  Injection injection(options, *checkpoint, result);
  OCTAVO_RETURN_IF_ERROR(injection.Plan(plan));
  OCTAVO_ASSIGN_OR_RETURN(OutputFolder folder,
                          OutputFolder::Create(options.output, {.resume = false,
                                                                .overwrite = options.overwrite,
                                                                .fingerprint = "inject-outliers"}));
  uint64_t done = 0;
  OCTAVO_RETURN_IF_ERROR(WriteShards(plan, injection, folder, [&](uint64_t bytes) {
    done += bytes;
    if (progress) progress(done, plan.summary.input_bytes);
  }));
  OCTAVO_RETURN_IF_ERROR(WriteCompanionFiles(*checkpoint, folder.working_path()));
  OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(folder.FilePath("config.json"),
                                             DumpJson(checkpoint->config(), 2) + "\n"));
  OCTAVO_RETURN_IF_ERROR(folder.Publish());
  return result;
}

}  // namespace octavo
