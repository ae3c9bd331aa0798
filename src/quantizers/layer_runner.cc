// SPDX-License-Identifier: Apache-2.0
// Batches of whole samples, and models of which one layer has weights.
#include "quantizers/layer_runner.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "kernels/quantize/quantize.h"
#include "quantizers/quantized_source.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

// Enough for products to run at full speed; longer samples make batches of their own.
constexpr int64_t kBatchTokens = 2048;
constexpr int kKvBlock = 32;

float MaxAbs(const float* x, int64_t rows, const KvRows& shape) {
  float largest = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const ValueRange range = ActiveQuantizeOps().range(x + row * shape.row_stride, shape.cols);
    largest = std::max({largest, -range.lo, range.hi});
  }
  return largest;
}

int64_t BlocksOf(size_t tokens) { return (static_cast<int64_t>(tokens) + kKvBlock - 1) / kKvBlock; }

}  // namespace

LayerRunner::LayerRunner(const Options& options, ThreadPool& pool)
    : options_(options), pool_(pool), batches_(MakeBatches(options.samples)),
      ws_(max_batch_tokens_) {
  // The sequences of a batch take the blocks of the one KV group in order.
  block_table_.resize(static_cast<size_t>(blocks_per_batch_));
  std::iota(block_table_.begin(), block_table_.end(), 0);
  for (Batch& batch : batches_) {
    int64_t block = 0;
    for (SequenceSlice& sequence : batch.forward.sequences.front()) {
      sequence.block_table = block_table_.data() + block;
      block += BlocksOf(static_cast<size_t>(sequence.num_tokens));
    }
  }
}

std::vector<LayerRunner::Batch> LayerRunner::MakeBatches(
    std::span<const std::vector<int32_t>> samples) {
  std::vector<Batch> batches;
  int64_t blocks = 0;
  for (const std::vector<int32_t>& sample : samples) {
    const auto length = static_cast<int64_t>(sample.size());
    if (batches.empty() || batches.back().forward.num_tokens() + length > kBatchTokens) {
      batches.push_back({.first_row = num_tokens_, .forward = {}});
      batches.back().forward.sequences.emplace_back();
      blocks = 0;
    }
    ForwardBatch& batch = batches.back().forward;
    batch.sequences[0].push_back({.row_begin = batch.num_tokens(),
                                  .num_tokens = length,
                                  .position = 0,
                                  .block_table = nullptr});
    batch.tokens.insert(batch.tokens.end(), sample.begin(), sample.end());
    for (int64_t i = 0; i < length; ++i) batch.positions.push_back(static_cast<int32_t>(i));
    blocks += BlocksOf(sample.size());
    blocks_per_batch_ = std::max(blocks_per_batch_, blocks);
    max_batch_tokens_ = std::max(max_batch_tokens_, batch.num_tokens());
    num_tokens_ += length;
  }
  return batches;
}

Status LayerRunner::PrepareKv() {
  kv_ = KvCache();
  OCTAVO_ASSIGN_OR_RETURN(kv_, KvCache::Create(model_->kv_layers(), KvDType::kBf16, kKvBlock,
                                               blocks_per_batch_));
  return Status::Ok();
}

Status LayerRunner::LoadModules(std::optional<int64_t> layer, const Replace& replace,
                                std::unordered_map<std::string, std::vector<float>> vectors) {
  model_.reset();  // before the next one takes memory
  OCTAVO_ASSIGN_OR_RETURN(const LinearLoader linears, LinearLoader::Create(*options_.checkpoint));
  WeightOverrides overrides;
  overrides.open = [&](const std::string& module) -> Result<std::unique_ptr<WeightSource>> {
    if (replace) {
      OCTAVO_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> replaced, replace(module));
      if (replaced != nullptr) return replaced;
    }
    return OpenOriginal(linears, *options_.checkpoint, module);
  };
  overrides.vectors = std::move(vectors);
  LoadOptions load;
  load.overrides = &overrides;
  load.only = LayerRange{.first = layer.value_or(0), .count = layer ? 1 : 0, .head = false};
  OCTAVO_ASSIGN_OR_RETURN(model_, LoadModel(options_.checkpoint, load, options_.isa, pool_));
  if (layer) OCTAVO_RETURN_IF_ERROR(PrepareKv());
  return model_->Reserve(ws_, pool_.num_threads());
}

Status LayerRunner::Load(int64_t index, const Replace& replace,
                         std::unordered_map<std::string, std::vector<float>> vectors) {
  layer_ = index;
  kv_range_ = {};
  return LoadModules(index, replace, std::move(vectors));
}

std::vector<const Linear*> LayerRunner::linears() const {
  std::vector<const Linear*> all = model_->linears();
  std::erase_if(all, [this](const Linear* linear) {
    if (linear->parts().empty()) return true;
    return options_.arch->Locate(linear->parts().front().module)->layer != layer_;
  });
  return all;
}

template <typename Fn>
Status LayerRunner::ForBatches(const Fn& fn) {
  for (Batch& batch : batches_) {
    if (options_.cancel != nullptr && options_.cancel->load()) return Cancelled("interrupted");
    OCTAVO_RETURN_IF_ERROR(fn(batch));
  }
  return Status::Ok();
}

Status LayerRunner::Embed(BoundaryFile& out) {
  OCTAVO_RETURN_IF_ERROR(LoadModules(std::nullopt, nullptr, {}));
  return ForBatches([&](Batch& batch) {
    Step step{batch.forward, pool_, options_.isa, kv_, ws_, nullptr};
    OCTAVO_RETURN_IF_ERROR(model_->Embed(step));
    return out.Write(batch.first_row, batch.forward.num_tokens(),
                     step.Hidden(model_->config().hidden_size).data);
  });
}

Status LayerRunner::Run(const BoundaryFile& in, BoundaryFile* out, const LinearTap* tap,
                        const std::function<void(int64_t tokens)>& done) {
  int64_t rows = 0;
  const KvTap kv_tap = [&](const KvRows& kv) {
    kv_range_.k = std::max(kv_range_.k, MaxAbs(kv.k, rows, kv));
    kv_range_.v = std::max(kv_range_.v, MaxAbs(kv.v, rows, kv));
  };
  return ForBatches([&](Batch& batch) {
    Step step{batch.forward, pool_, options_.isa, kv_, ws_, tap, &kv_tap};
    rows = batch.forward.num_tokens();
    // Embedding also prepares what depends on positions; its rows are replaced.
    OCTAVO_RETURN_IF_ERROR(model_->Embed(step));
    float* hidden = step.Hidden(model_->config().hidden_size).data;
    OCTAVO_RETURN_IF_ERROR(in.Read(batch.first_row, rows, hidden));
    model_->Layer(0, step);
    if (out != nullptr) OCTAVO_RETURN_IF_ERROR(out->Write(batch.first_row, rows, hidden));
    done(rows);
    return Status::Ok();
  });
}

}  // namespace octavo
