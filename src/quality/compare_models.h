// SPDX-License-Identifier: Apache-2.0
// Runs one text through two models and measures how far the second is from the first.
//
// Memory: one layer of each model at a time (models/layerwise_model.h), its KV cache for one window,
// and three windows of the residual stream; the residual streams of all windows wait in scratch files
// of windows * window * hidden_size * 4 bytes per model. At the end both output projections are in
// memory together. Logits are never stored.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "metrics/comparison.h"
#include "models/layerwise_model.h"
#include "octavo/status.h"
#include "quality/channel_stats.h"
#include "quality/weight_error.h"

namespace octavo {

struct ModelSide {
  std::shared_ptr<const Checkpoint> checkpoint;
  LoadOptions load;  // max_model_len and only are set by the run
  KvDType kv_dtype = KvDType::kBf16;
};

struct CompareInput {
  ModelSide reference;
  ModelSide other;
  std::vector<int32_t> tokens;  // windows back to back; a whole number of them
  int64_t window = 0;           // tokens of a window, at least 2
  bool weights = true;          // compare the weights of linear layers, too
  std::string scratch_folder;   // see ScratchFile
  const std::atomic<bool>* cancel = nullptr;  // polled between windows; may be null
};

// One linear module ("model.layers.3.mlp.up_proj").
struct LinearQuality {
  std::string module;
  std::string scheme;     // of the other model
  int64_t n = 0;
  int64_t k = 0;
  double bits = 0;        // per weight on disk, scales included
  double reference_bits = 0;
  // The matrix is not the reference's, rounded (transformed_modules.h): it has no errors of its own, so
  // the figures below are NaN.
  bool transformed = false;
  WeightError weight;     // NaN without CompareInput::weights
  // Relative error of the output without bias when both get the reference's inputs (a sample of
  // them), with the rounding of activations that the scheme asks for.
  double output_error = 0;
};

struct LayerQuality {
  // Error that the layer alone adds: with the reference's input, ||other's output - reference's|| over
  // the norm of what the reference's layer adds to the residual stream. Mean over the tokens of the
  // first window.
  double own_error = 0;
  // ||other's residual stream - reference's|| / ||reference's|| after the layer, mean over all tokens.
  double total_error = 0;
};

// Inputs of one linear layer of the run, fused as the model fuses them ("...self_attn.qkv_proj").
struct InputStats {
  int64_t layer = 0;
  std::string slot;
  ChannelStats reference;
  ChannelStats other;
};

struct ModelComparison {
  std::vector<TokenComparison> tokens;  // windows * (window - 1)
  // The rest is empty when the models differ in architecture, layers or sizes.
  std::vector<LinearQuality> linears;
  std::vector<LayerQuality> layers;
  std::vector<InputStats> inputs;
};

// `progress` gets units of work done and in all; it may be null.
// Errors: InvalidArgument when the vocabularies' sizes differ or the tokens are no whole windows;
// kCancelled; what loading reports.
Result<ModelComparison> CompareModels(const CompareInput& input, ThreadPool& pool,
                                      const std::function<void(uint64_t, uint64_t)>& progress);

}  // namespace octavo
