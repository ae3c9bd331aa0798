// SPDX-License-Identifier: Apache-2.0
// Takes all calibration samples through one layer at a time, from one scratch file to another.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/layerwise_model.h"
#include "octavo/status.h"
#include "quantizers/boundary_file.h"

namespace octavo {

// The largest magnitudes that a layer writes to the KV cache: keys after their rotation, and values.
struct KvRange {
  float k = 0;
  float v = 0;
};

class LayerRunner {
 public:
  struct Options {
    std::shared_ptr<const Checkpoint> checkpoint;
    const ModelArch* arch = nullptr;
    std::span<const std::vector<int32_t>> samples;
    IsaLevel isa = IsaLevel::kReference;
    const std::atomic<bool>* cancel = nullptr;  // polled between batches; may be null
  };

  // `pool` and the samples must outlive the runner. Errors: InvalidArgument without samples; as
  // LayerwiseModel.
  static Result<LayerRunner> Create(const Options& options, ThreadPool& pool);

  int64_t num_tokens() const { return batches_.num_tokens; }

  // Embeds all samples into `out` [num_tokens, hidden_size].
  Status Embed(BoundaryFile& out);

  // Loads layer `index` (and drops the one before). `replace` gives weights that are not the
  // checkpoint's, and may return null; `vectors` likewise. Linears see bf16 activations unless their
  // scheme asks for others.
  using Replace = std::function<Result<std::unique_ptr<WeightSource>>(const std::string& module)>;
  Status Load(int64_t index, const Replace& replace,
              std::unordered_map<std::string, std::vector<float>> vectors);

  // Linears of the loaded layer, and what they cost per token.
  std::vector<const Linear*> linears() const;
  double FlopsPerToken() const;

  // Runs the loaded layer over all samples. `out` and `tap` may be null; `done` is called with the
  // number of tokens after each batch.
  Status Run(const BoundaryFile& in, BoundaryFile* out, const LinearTap* tap,
             const std::function<void(int64_t tokens)>& done);

  // What the loaded layer makes of about `tokens` tokens: whole samples, spread over all of them.
  struct Rows {
    const float* values = nullptr;  // [count, hidden_size], until the next run
    int64_t count = 0;
  };
  Result<Rows> RunSome(const BoundaryFile& in, int64_t tokens);
  int64_t hidden_size() const { return model_.config().hidden_size; }

  // Over all runs of the layer since it was loaded.
  KvRange kv_range() const { return kv_range_; }

 private:
  // Whole samples that run together, in one forward pass each: what is observed of them is added up
  // batch by batch, so the cut is part of the result.
  struct Batches {
    std::vector<std::vector<int64_t>> lengths;  // of the samples, by batch
    int64_t num_tokens = 0;
    int64_t max_tokens = 0;   // of a batch
    int64_t max_samples = 0;  // of a batch
  };
  static Batches MakeBatches(std::span<const std::vector<int32_t>> samples);

  LayerRunner(const Options& options, Batches batches, LinearLoader linears, LayerwiseModel model)
      : options_(options), batches_(std::move(batches)), linears_(std::move(linears)),
        model_(std::move(model)) {}
  // Calls fn(first row, lengths, tokens) for each batch until one fails.
  template <typename Fn>
  Status ForBatches(const Fn& fn);

  Options options_;
  Batches batches_;
  LinearLoader linears_;
  LayerwiseModel model_;
  std::vector<float> hidden_;  // of a batch
  int64_t layer_ = -1;
  KvRange kv_range_;
};

}  // namespace octavo
