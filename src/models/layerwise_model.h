// SPDX-License-Identifier: Apache-2.0
// A model that runs with one layer in memory at a time.
//
// The caller keeps the residual streams and takes every text through a layer before the next one is
// loaded:
//
//   Embed(text) for all texts;  for each layer: LoadLayer(i), RunLayer(hidden) for all texts;
//   LoadHead(), Logits(rows)
//
// Texts go through a layer one by one or several at a time, with the checkpoint's weights or with
// others in their place.
//
// Logits are the same bits as those of the whole model (models/teacher_forcing.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "layers/kv_cache.h"
#include "models/load_model.h"
#include "models/model.h"
#include "octavo/status.h"

namespace octavo {

// What one call of RunLayer takes at most.
struct LayerwiseCapacity {
  int64_t tokens = 0;  // of all texts; 0: load.max_model_len, which must be positive then
  int64_t texts = 1;
  int64_t step_tokens = 512;  // of one forward pass: what a tap sees at a time
};

// See what a layer computes; each may be null.
struct LayerTaps {
  const LinearTap* linear = nullptr;
  const KvTap* kv = nullptr;
  // Nothing else is wanted: the texts' rows are left as they were, which saves a layer's last product.
  bool only = false;
};

class LayerwiseModel {
 public:
  // Reads no weights yet. `load.only` is ignored. `pool` must outlive the model.
  // Errors: InvalidArgument for a capacity that is not positive; as FindArch.
  static Result<LayerwiseModel> Open(std::shared_ptr<const Checkpoint> checkpoint,
                                     const LoadOptions& load, KvDType kv_dtype, IsaLevel isa,
                                     ThreadPool& pool, LayerwiseCapacity capacity = {});

  // Of the whole model.
  const ModelConfig& config() const { return config_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  // Rows of one call of Logits at most.
  static constexpr int64_t kMaxLogitRows = 64;

  // Token ids of a text -> hidden [tokens.size(), hidden_size].
  Status Embed(std::span<const int32_t> tokens, float* hidden);

  // Loads layer `index` in place of what was loaded before. `overrides` takes the place of the load
  // options' own.
  Status LoadLayer(int64_t index, const WeightOverrides* overrides = nullptr);
  // Final norm and output projection.
  Status LoadHead();
  void Unload();

  // The linear layers in memory, under the checkpoint's names: the layer's, and those around all layers
  // (OPT's projections; the head, without columns unless it is loaded).
  std::vector<const Linear*> linears() const { return slice_->linears(); }

  // Takes a text of `count` tokens through the loaded layer: hidden [count, hidden_size], in place.
  // `tap` may be null.
  Status RunLayer(float* hidden, int64_t count, const LinearTap* tap) {
    return RunLayer(std::span(&count, 1), hidden, {.linear = tap});
  }

  // The same for texts of these lengths, back to back in `hidden` [sum of lengths, hidden_size].
  Status RunLayer(std::span<const int64_t> lengths, float* hidden, const LayerTaps& taps);

  // y = x W^T + bias of one loaded linear, apart from its layer: x [rows, k], y [rows, n].
  Status RunLinear(const Linear& linear, const float* x, int64_t rows, float* y);

  // Logits [count, vocab_size] of rows of the residual stream after the last layer; LoadHead() first.
  Status Logits(const float* hidden, int64_t count, float* logits);

 private:
  LayerwiseModel(std::shared_ptr<const Checkpoint> checkpoint, LoadOptions load, KvDType kv_dtype,
                 IsaLevel isa, ThreadPool& pool, LayerwiseCapacity capacity);

  Status Load(const LayerRange& range, const WeightOverrides* overrides = nullptr);
  // The next step's batch: `count` rows from row `begin` of texts that lie back to back, without
  // their tokens.
  void SetBatch(std::span<const int64_t> lengths, int64_t begin, int64_t count);
  Step MakeStep(const LayerTaps& taps = {}) {
    return {batch_, *pool_, isa_, kv_, *ws_, taps.linear, taps.kv, taps.only};
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  LoadOptions load_;
  KvDType kv_dtype_;
  IsaLevel isa_;
  ThreadPool* pool_;
  LayerwiseCapacity capacity_;
  ModelConfig config_;
  std::shared_ptr<const Model> slice_;
  KvCache kv_;  // of the loaded layer, for the texts of one call
  std::unique_ptr<Workspace> ws_;
  std::vector<int32_t> block_table_;
  ForwardBatch batch_;
};

}  // namespace octavo
