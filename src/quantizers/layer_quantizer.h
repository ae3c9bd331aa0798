// SPDX-License-Identifier: Apache-2.0
// Calibrates and quantizes one layer: observe its inputs, choose scales, choose codes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "octavo/status.h"
#include "quantizers/awq.h"
#include "quantizers/calibration_algorithm.h"
#include "quantizers/calibration_report.h"
#include "quantizers/layer_modules.h"
#include "quantizers/layer_observer.h"
#include "quantizers/layer_transform.h"
#include "quantizers/scale_judge.h"

namespace octavo {

struct LayerQuantizerOptions {
  float smoothing_strength = 0.5f;  // of recipes that leave it open
  LayerObserverOptions observer;
  const std::atomic<bool>* cancel = nullptr;
};

// A layer after quantization. Modules are complete matrices.
struct QuantizedLayer {
  std::unordered_map<std::string, std::shared_ptr<const QuantizedRows>> modules;
  std::unordered_map<std::string, float> input_scales;  // of modules with static activations
  LayerTransform transform;
  LayerReport report;
};

// A module with its calibrated input scale, for encoding.
TargetModule TargetOf(const LayerModule& module, const QuantizedLayer& quantized);

class LayerQuantizer {
 public:
  // `work` is called with floating-point operations as they are done; `product` and all others must
  // outlive the quantizer.
  LayerQuantizer(const LayerQuantizerOptions& options, const Checkpoint& checkpoint,
                 LayerRunner& runner, MatrixProduct& product,
                 std::function<void(double flops)> work);

  // Runs the layer's original weights over `in` as often as memory asks for. `out` may be null; it gets
  // what they make of it.
  // Errors: DataLoss for weights or activations that are not finite; ResourceExhausted; kCancelled.
  Result<QuantizedLayer> Run(const LayerModules& layer, const BoundaryFile& in, BoundaryFile* out);

  // The layer's quantized weights as the runner loads them.
  LayerRunner::Replace Replacement(const LayerModules& layer, const QuantizedLayer& quantized) const;

 private:
  using Round = LayerObserver::Round;

  Status ChooseScales(const Round& round, const BoundaryFile& in);
  // The consumer whose algorithm scales a site; nullptr: none does.
  const LayerModule* ScaledConsumer(const LayerSite& site) const;
  Status ChooseQoq();
  // What a module's algorithm does, after qoq's switches.
  bool Clips(const LayerModule& module) const;
  bool UsesGptq(const LayerModule& module) const;
  Status ChooseSite(const LayerSite& site, const BoundaryFile& in);
  Result<AwqScales> SearchScales(const LayerSite& site, const LayerInputs& inputs, const BoundaryFile& in);
  Status QuantizeRound(const Round& round);
  // The factor for GPTQ's modules of a tap; none, and why in `note`, where it cannot be made.
  Result<std::optional<GptqFactor>> Factor(const LayerModule& module, std::string& note);
  Status QuantizeModule(const LayerModule& module, const GptqFactor* factor, std::string note);
  // What rounding needs to know of a module as a whole: the ranges of its weights and inputs.
  Result<TargetModule> MakeTarget(const LayerModule& module, std::string& note);
  // The largest input of a module after smoothing.
  float InputRange(const LayerModule& module, std::string& note) const;
  Result<std::vector<float>> ReadTransformed(const LayerModule& module, int64_t begin, int64_t count);
  // Rows [begin, begin + count) of a module.
  Result<QuantizedRows> QuantizeRows(const LayerModule& module, const TargetModule& target,
                                     const GptqFactor* factor, int64_t begin, int64_t count);
  ModuleReport MakeReport(const LayerModule& module, const GptqFactor* factor) const;
  Status MeasureRows(const LayerModule& module, int64_t begin, int64_t count, QuantizedRows rows,
                     struct OutputError& error);

  const LayerQuantizerOptions options_;
  const Checkpoint& checkpoint_;
  LayerRunner& runner_;
  MatrixProduct& product_;
  std::function<void(double)> work_;

  LayerObserver observer_;
  const LayerModules* layer_ = nullptr;
  std::vector<const LayerSite*> searched_;
  std::optional<LayerJudge> judge_;  // of the layer, once a site needed it
  QuantizedLayer out_;
};

}  // namespace octavo
