// SPDX-License-Identifier: Apache-2.0
// What the linears of one layer see while the calibration samples run through it.
//
// Modules that are fused share an input: a tap, named by the slot of the fused linear. Gram matrices
// are taken in rounds, as many at a time as memory allows; the first pass takes all other statistics.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "octavo/status.h"
#include "quantizers/calibration_algorithm.h"
#include "quantizers/input_statistics.h"
#include "quantizers/layer_modules.h"
#include "quantizers/layer_runner.h"
#include "quantizers/layer_transform.h"
#include "quantizers/qoq_options.h"
#include "quantizers/smooth_attention.h"
#include "quantizers/smoothing.h"

namespace octavo {

struct LayerObserverOptions {
  const ModelConfig* config = nullptr;
  QoqOptions qoq;           // of modules whose algorithm is qoq
  uint64_t gram_bytes = 0;  // of Gram matrices at a time; at least one is held
  double token_norm_limit = 0;  // InputObserver's
};

class LayerObserver {
 public:
  using Round = std::vector<std::string>;  // taps whose Gram matrices are held together

  // `work` is called with floating-point operations as they are done; `product` and all others must
  // outlive the observer.
  LayerObserver(const LayerObserverOptions& options, const Checkpoint& checkpoint,
                LayerRunner& runner, MatrixProduct& product,
                std::function<void(double flops)> work);

  // Looks at the layer that the runner has loaded; `layer` must outlive its observation.
  // Errors: InvalidArgument when fused modules are to be quantized differently.
  Status Start(const LayerModules& layer);
  // Frees what was observed.
  void Finish() { statistics_.clear(); }

  // Those of linears with a quantized module, cut by options.gram_bytes; at least one round.
  std::vector<Round> MakeRounds() const;

  // One pass over the samples: the first looks at every tap, later ones at the round's only. `out` may
  // be null. Columns go in the order of `transform`.
  // Errors: DataLoss for inputs that are not finite; ResourceExhausted; kCancelled.
  Status Observe(const Round& round, const BoundaryFile& in, BoundaryFile* out,
                 const LayerTransform& transform);

  // Brings the statistics of all taps into the order of a transform that was chosen from them.
  void Reorder(const LayerTransform& transform);

  const std::vector<std::string>& taps() const { return taps_; }
  // nullptr for modules that belong to no linear of the layer.
  const std::string* TapOf(const std::string& module) const;
  // The first of a round's tap's modules that is quantized; all of them are quantized alike.
  const LayerModule& QuantizedModule(const std::string& tap) const { return *quantized_of_.at(tap); }
  // What the modules of a tap are quantized by; does nothing for dense ones.
  const CalibrationAlgorithm& AlgorithmOf(const std::string& tap) const;

  // By module, of those that met a token.
  LayerInputs Inputs() const;
  const InputStatistics* InputOf(const std::string& module) const;  // nullptr: it met none
  // Until the statistics are reordered; empty vectors where nothing was asked for.
  KeyStatistics Keys() const {
    return keys_ ? keys_->Statistics(options_.qoq.center_keys) : KeyStatistics();
  }

 private:
  using Observers = std::unordered_map<std::string_view, InputObserver>;  // by tap

  bool NeedsGram(const std::string& tap) const;
  // Observers for a pass; adds what a token costs to `flops`.
  Result<Observers> MakeObservers(const Round& round, bool first, double& flops);
  Status StartKeys(std::string& keys_tap);
  void ReorderTap(const LayerTransform& transform, const std::string& tap);
  Status CheckFinite() const;

  const LayerObserverOptions options_;
  const Checkpoint& checkpoint_;
  LayerRunner& runner_;
  MatrixProduct& product_;
  std::function<void(double)> work_;

  const LayerModules* layer_ = nullptr;
  std::vector<std::string> taps_;
  std::unordered_map<std::string, const LayerModule*> quantized_of_;  // one quantized module by tap
  std::unordered_map<std::string, std::string> tap_of_;               // by module
  std::unordered_map<std::string, int64_t> tap_k_;
  std::unordered_map<std::string, InputStatistics> statistics_;  // by tap
  std::optional<KeyObserver> keys_;
};

}  // namespace octavo
