// SPDX-License-Identifier: Apache-2.0
// Runs all calibration samples through one layer at a time, with only that layer's weights in memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "models/load_model.h"
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

  // `pool` and the samples must outlive the runner.
  LayerRunner(const Options& options, ThreadPool& pool);

  int64_t num_tokens() const { return num_tokens_; }

  // Embeds all samples into `out` [num_tokens, hidden_size].
  Status Embed(BoundaryFile& out);

  // Loads layer `index` (and drops the one before). `replace` gives weights that are not the
  // checkpoint's, and may return null; `vectors` likewise. Linears see bf16 activations unless their
  // scheme asks for others.
  using Replace = std::function<Result<std::unique_ptr<WeightSource>>(const std::string& module)>;
  Status Load(int64_t index, const Replace& replace,
              std::unordered_map<std::string, std::vector<float>> vectors);

  // Linears of the loaded layer.
  std::vector<const Linear*> linears() const;

  // Runs the loaded layer over all samples. `out` and `tap` may be null; `done` is called with the
  // number of tokens after each batch.
  Status Run(const BoundaryFile& in, BoundaryFile* out, const LinearTap* tap,
             const std::function<void(int64_t tokens)>& done);

  // Over all runs of the layer since it was loaded.
  KvRange kv_range() const { return kv_range_; }

 private:
  struct Batch {
    int64_t first_row = 0;
    ForwardBatch forward;
  };

  // Also counts tokens and the blocks that a batch takes.
  std::vector<Batch> MakeBatches(std::span<const std::vector<int32_t>> samples);
  // One layer is one KV group; its window may differ from the last one's.
  Status PrepareKv();
  Status LoadModules(std::optional<int64_t> layer, const Replace& replace,
                     std::unordered_map<std::string, std::vector<float>> vectors);
  template <typename Fn>
  Status ForBatches(const Fn& fn);

  Options options_;
  ThreadPool& pool_;
  int64_t num_tokens_ = 0;
  int64_t max_batch_tokens_ = 0;
  int64_t blocks_per_batch_ = 0;
  std::vector<Batch> batches_;
  std::vector<int32_t> block_table_;  // 0, 1, ..: sequences point into it
  std::shared_ptr<const Model> model_;
  int64_t layer_ = -1;
  KvCache kv_;
  KvRange kv_range_;
  Workspace ws_;
};

}  // namespace octavo
