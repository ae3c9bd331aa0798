// SPDX-License-Identifier: Apache-2.0
// Plans without executing, and times one block.
#include "quantizers/quantize_estimate.h"

#include <algorithm>
#include <chrono>

#include "base/thread_pool.h"
#include "base/units.h"
#include "io/checkpoint.h"
#include "quantizers/quantize_plan.h"

namespace octavo {
namespace {

using Clock = std::chrono::steady_clock;

// As shard_pipeline.cc cuts: 4 MiB of floats, in whole alignments.
constexpr int64_t kBlockFloats = int64_t{1} << 20;
constexpr double kSampleSeconds = 0.15;

const PlannedTensor& LargestModule(const QuantizePlan& plan) {
  const PlannedTensor* largest = nullptr;
  for (const PlannedShard& shard : plan.shards) {
    for (const PlannedTensor& tensor : shard.tensors) {
      if (!tensor.module) continue;
      if (largest == nullptr || tensor.source->bytes > largest->source->bytes) largest = &tensor;
    }
  }
  return *largest;  // a plan without modules is an error
}

int64_t BlockRows(const PlannedTensor& tensor) {
  const int64_t rows = kBlockFloats / tensor.source->cols() / kRowAlignment * kRowAlignment;
  return std::min(std::max(rows, kRowAlignment), tensor.source->rows());
}

// Seconds per weight of one thread, reading included.
Result<double> TimeBlock(const Checkpoint& checkpoint, const QuantizePlan& plan) {
  const PlannedTensor& tensor = LargestModule(plan);
  const ModuleRecipe& recipe = *tensor.recipe;
  const int64_t rows = BlockRows(tensor);
  const int64_t weights = rows * tensor.source->cols();
  std::vector<float> x(static_cast<size_t>(weights));
  QuantizedRows quantized;
  std::vector<TensorPiece> pieces;
  const Clock::time_point start = Clock::now();
  double seconds = 0;
  int64_t done = 0;
  while (done == 0 || seconds < kSampleSeconds) {
    OCTAVO_RETURN_IF_ERROR(checkpoint.ReadRowsF32(*tensor.source, 0, rows, x.data()));
    OCTAVO_RETURN_IF_ERROR(recipe.scheme->quantize(*tensor.module, x.data(), 0, rows, quantized));
    TargetModule module = *tensor.module;
    if (recipe.form != recipe.scheme) {
      recipe.scheme->to_w8a8(module, quantized);
      module.args = recipe.form->args;
    }
    recipe.form->encode(module, quantized, 0, pieces);
    done += weights;
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return seconds / static_cast<double>(done);
}

}  // namespace

Result<QuantizeEstimate> EstimateQuantize(const QuantizeOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                          Checkpoint::Open(options.model));
  OCTAVO_ASSIGN_OR_RETURN(QuantizePlan plan, MakeQuantizePlan(options, *checkpoint));
  OCTAVO_ASSIGN_OR_RETURN(const double seconds_per_weight, TimeBlock(*checkpoint, plan));
  const int threads = options.threads > 0 ? options.threads : ThreadPool::AvailableCpus();
  double weights = 0;
  for (const PlannedShard& shard : plan.shards) {
    for (const PlannedTensor& tensor : shard.tensors) {
      if (tensor.module) weights += static_cast<double>(tensor.source->shape.NumElements());
    }
  }
  const PlannedTensor& largest = LargestModule(plan);
  const auto block = static_cast<uint64_t>(BlockRows(largest) * largest.source->cols());
  QuantizeEstimate estimate;
  // Floats, their 16-bit originals, codes and packed pieces of a block, 4 + 2 + 2 + 2 bytes a weight,
  // and a block of what is copied.
  estimate.peak_memory_bytes = PeakRssBytes() + static_cast<uint64_t>(threads) * block * 14;
  estimate.seconds = weights * seconds_per_weight / threads;
  estimate.summary = std::move(plan.summary);
  return estimate;
}

Result<std::vector<SchemeSize>> SizesOfAllSchemes(const QuantizeOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                          Checkpoint::Open(options.model));
  std::vector<SchemeSize> sizes;
  for (const Scheme* scheme : AllSchemes()) {
    if (!scheme->writable()) continue;
    SchemeSize& size = sizes.emplace_back();
    size.scheme = scheme->name;
    QuantizeOptions of_scheme = options;
    of_scheme.recipe = nullptr;
    of_scheme.algorithm = kRoundToNearest;  // sizes do not depend on it
    of_scheme.scheme = size.scheme;
    of_scheme.as.clear();
    if (scheme->args.weights.strategy != Strategy::kGroup) of_scheme.group_size = 0;
    const auto plan = MakeQuantizePlan(of_scheme, *checkpoint);
    if (!plan.ok()) {
      size.error = plan.status().message();
      continue;
    }
    size.bits_per_weight = plan->summary.bits_per_weight;
    size.output_bytes = plan->summary.output_bytes;
    size.group_size = plan->summary.group_size;
  }
  std::sort(sizes.begin(), sizes.end(), [](const SchemeSize& a, const SchemeSize& b) {
    if (a.error.empty() != b.error.empty()) return a.error.empty();
    if (a.output_bytes != b.output_bytes) return a.output_bytes < b.output_bytes;
    return a.scheme < b.scheme;
  });
  return sizes;
}

}  // namespace octavo
