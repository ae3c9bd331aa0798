// SPDX-License-Identifier: Apache-2.0
// Runs forward passes: the seam between engines (which decide what to compute) and models (which
// compute). A future device backend replaces this class and nothing above it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/thread_pool.h"
#include "layers/kv_cache.h"
#include "layers/step.h"
#include "models/model.h"
#include "octavo/status.h"

namespace octavo {

struct RunnerOptions {
  KvDType kv_dtype = KvDType::kBf16;
  int block_size = 32;           // tokens per KV block
  int64_t num_blocks = 0;        // pages in the pool
  int64_t max_step_tokens = 512; // largest batch of one Step
};

class ModelRunner {
 public:
  // `pool` must outlive the runner. Reserves the arena and the KV pool.
  static Result<std::unique_ptr<ModelRunner>> Create(std::shared_ptr<const Model> model,
                                                     const RunnerOptions& options, IsaLevel isa,
                                                     ThreadPool& pool);

  // Runs the batch through all layers; K and V of its tokens are in the cache afterwards. Fails, with
  // nothing computed, on an empty or too large batch or a token id outside the vocabulary.
  Status Forward(const ForwardBatch& batch);

  // Logits of the last Forward's rows (ascending): [rows.size(), vocab_size] f32.
  void Logits(std::span<const int64_t> rows, float* logits);

  // Row `row` of the last Forward after the final norm: hidden [hidden_size] f32.
  void FinalHidden(int64_t row, float* hidden);

  const Model& model() const { return *model_; }
  KvCache& kv() { return kv_; }
  const RunnerOptions& options() const { return options_; }
  size_t arena_bytes() const { return ws_.bytes(); }

  // Observes the inputs of all linear layers from the next Forward on; an empty function stops it.
  void SetTap(LinearTap tap) { tap_ = std::move(tap); }

 private:
  ModelRunner(std::shared_ptr<const Model> model, const RunnerOptions& options, IsaLevel isa,
              ThreadPool& pool, KvCache kv)
      : model_(std::move(model)), options_(options), isa_(isa), pool_(pool), kv_(std::move(kv)),
        ws_(options.max_step_tokens) {}

  Step MakeStep() { return {batch_, pool_, isa_, kv_, ws_, tap_ ? &tap_ : nullptr}; }

  std::shared_ptr<const Model> model_;
  RunnerOptions options_;
  IsaLevel isa_;
  ThreadPool& pool_;
  KvCache kv_;
  Workspace ws_;
  LinearTap tap_;
  ForwardBatch batch_;  // the last Forward's, for Logits
};

}  // namespace octavo
