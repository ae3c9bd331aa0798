// SPDX-License-Identifier: Apache-2.0
// Batches of whole samples, and models of which one layer has weights.
#include "quantizers/layer_runner.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "schemes/dequantized_source.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

// Enough for products to run at full speed; longer samples make batches of their own.
constexpr int64_t kBatchTokens = 2048;
constexpr int kKvBlock = 32;

int64_t BlocksOf(size_t tokens) { return (static_cast<int64_t>(tokens) + kKvBlock - 1) / kKvBlock; }

}  // namespace

LayerRunner::LayerRunner(const Options& options, ThreadPool& pool) : options_(options), pool_(pool) {
  MakeBatches(options.samples);
}

void LayerRunner::MakeBatches(std::span<const std::vector<int32_t>> samples) {
  int64_t blocks = 0;
  for (const std::vector<int32_t>& sample : samples) {
    const auto length = static_cast<int64_t>(sample.size());
    if (batches_.empty() || batches_.back().forward.num_tokens() + length > kBatchTokens) {
      batches_.push_back({.first_row = num_tokens_, .forward = {}});
      batches_.back().forward.sequences.emplace_back();
      blocks = 0;
    }
    ForwardBatch& batch = batches_.back().forward;
    // Block tables are pointed at once they exist (PrepareKv); until then `position` is final.
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
}

Status LayerRunner::PrepareKv() {
  const auto specs = model_->kv_layers();
  const auto groups = static_cast<int64_t>(MakeKvGroups(specs, KvDType::kBf16, kKvBlock).size());
  OCTAVO_ASSIGN_OR_RETURN(
      kv_, KvCache::Create(specs, KvDType::kBf16, kKvBlock, blocks_per_batch_ * groups));
  // Group g owns blocks [g * blocks_per_batch, ..); a sequence's table is a stretch of its group's.
  block_tables_.assign(static_cast<size_t>(groups), {});
  for (size_t g = 0; g < block_tables_.size(); ++g) {
    block_tables_[g].resize(static_cast<size_t>(blocks_per_batch_));
    std::iota(block_tables_[g].begin(), block_tables_[g].end(),
              static_cast<int32_t>(static_cast<int64_t>(g) * blocks_per_batch_));
  }
  for (Batch& batch : batches_) {
    auto& sequences = batch.forward.sequences;
    sequences.resize(static_cast<size_t>(groups), sequences.front());
    for (size_t g = 0; g < sequences.size(); ++g) {
      int64_t block = 0;
      for (SequenceSlice& sequence : sequences[g]) {
        sequence.block_table = block_tables_[g].data() + block;
        block += BlocksOf(static_cast<size_t>(sequence.num_tokens));
      }
    }
  }
  ws_.emplace(max_batch_tokens_);
  return Status::Ok();
}

Status LayerRunner::LoadModules(std::optional<int64_t> layer, const Replace& replace,
                                std::unordered_map<std::string, std::vector<float>> vectors) {
  model_.reset();  // before the next one takes memory
  OCTAVO_ASSIGN_OR_RETURN(const LinearLoader linears, LinearLoader::Create(*options_.checkpoint));
  WeightOverrides overrides;
  overrides.wanted = [&](const std::string& module) {
    const std::optional<TensorPlace> place = options_.arch->Locate(module);
    return place && (!place->layer || place->layer == layer);
  };
  // Weights that stay as they are run as they are written: a GGUF's become bf16.
  overrides.open = [&](const std::string& module) -> Result<std::unique_ptr<WeightSource>> {
    if (replace) {
      OCTAVO_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> replaced, replace(module));
      if (replaced != nullptr) return replaced;
    }
    OCTAVO_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> source, linears.OpenLinear(module));
    if (options_.checkpoint->is_gguf()) source = MakeBf16Source(std::move(source));
    return source;
  };
  overrides.vectors = std::move(vectors);
  LoadOptions load;
  load.overrides = &overrides;
  OCTAVO_ASSIGN_OR_RETURN(model_, LoadModel(options_.checkpoint, load, options_.isa, pool_));
  if (!kv_) OCTAVO_RETURN_IF_ERROR(PrepareKv());
  return model_->Reserve(*ws_, pool_.num_threads());
}

Status LayerRunner::Load(int64_t index, const Replace& replace,
                         std::unordered_map<std::string, std::vector<float>> vectors) {
  layer_ = index;
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
    Step step{batch.forward, pool_, options_.isa, *kv_, *ws_, nullptr};
    OCTAVO_RETURN_IF_ERROR(model_->Embed(step));
    return out.Write(batch.first_row, batch.forward.num_tokens(),
                     step.Hidden(model_->config().hidden_size).data);
  });
}

Status LayerRunner::Run(const BoundaryFile& in, BoundaryFile* out, const LinearTap* tap,
                        const std::function<void(int64_t tokens)>& done) {
  return ForBatches([&](Batch& batch) {
    Step step{batch.forward, pool_, options_.isa, *kv_, *ws_, tap};
    const int64_t rows = batch.forward.num_tokens();
    // Embedding also prepares what depends on positions; its rows are replaced.
    OCTAVO_RETURN_IF_ERROR(model_->Embed(step));
    float* hidden = step.Hidden(model_->config().hidden_size).data;
    OCTAVO_RETURN_IF_ERROR(in.Read(batch.first_row, rows, hidden));
    model_->Layer(layer_, step);
    if (out != nullptr) OCTAVO_RETURN_IF_ERROR(out->Write(batch.first_row, rows, hidden));
    done(rows);
    return Status::Ok();
  });
}

}  // namespace octavo
