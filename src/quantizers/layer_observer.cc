// SPDX-License-Identifier: Apache-2.0
// Passes over the samples.
#include "quantizers/layer_observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "quantizers/channel_order.h"
#include "quantizers/qoq_layer.h"

namespace octavo {

LayerObserver::LayerObserver(const LayerObserverOptions& options, const Checkpoint& checkpoint,
                             LayerRunner& runner, MatrixProduct& product,
                             std::function<void(double flops)> work)
    : options_(options), checkpoint_(checkpoint), runner_(runner), product_(product),
      work_(std::move(work)) {}

Status LayerObserver::Start(const LayerModules& layer) {
  layer_ = &layer;
  taps_.clear();
  tap_of_.clear();
  tap_k_.clear();
  quantized_of_.clear();
  statistics_.clear();
  keys_.reset();
  for (const Linear* linear : runner_.linears()) {
    const std::string& tap = linear->slot();
    taps_.push_back(tap);
    tap_k_[tap] = linear->k();
    const LayerModule* first = nullptr;
    for (const LinearPart& part : linear->parts()) {
      tap_of_[part.module] = tap;
      const LayerModule* module = layer_->Find(part.module);
      if (module == nullptr || !module->quantized()) continue;
      if (first != nullptr && &first->recipe() != &module->recipe()) {
        return InvalidArgument(fmt::format("{} and {} are fused, so they must be quantized alike",
                                           first->name, module->name));
      }
      first = module;
    }
    if (first != nullptr) quantized_of_[tap] = first;
  }
  return Status::Ok();
}

const std::string* LayerObserver::TapOf(const std::string& module) const {
  const auto it = tap_of_.find(module);
  return it == tap_of_.end() ? nullptr : &it->second;
}

const CalibrationAlgorithm& LayerObserver::AlgorithmOf(const std::string& tap) const {
  const auto it = quantized_of_.find(tap);
  return it == quantized_of_.end() ? LayerModule().algorithm() : it->second->algorithm();
}

bool LayerObserver::NeedsGram(const std::string& tap) const {
  const CalibrationAlgorithm& algorithm = AlgorithmOf(tap);
  if (algorithm.qoq) return options_.qoq.clip || options_.qoq.gptq;
  return algorithm.needs_gram();
}

std::vector<LayerObserver::Round> LayerObserver::MakeRounds() const {
  std::vector<Round> rounds(1);
  uint64_t bytes = 0;
  for (const std::string& tap : taps_) {
    if (!quantized_of_.contains(tap)) continue;
    const auto k = static_cast<uint64_t>(tap_k_.at(tap));
    const uint64_t gram = NeedsGram(tap) ? k * k * sizeof(float) : 0;
    if (bytes > 0 && bytes + gram > options_.gram_bytes) {
      rounds.emplace_back();
      bytes = 0;
    }
    bytes += gram;
    rounds.back().push_back(tap);
  }
  return rounds;
}

Result<LayerObserver::Observers> LayerObserver::MakeObservers(const Round& round, bool first,
                                                              double& flops) {
  Observers observers;
  for (const std::string& tap : taps_) {
    const bool gram =
        NeedsGram(tap) && std::find(round.begin(), round.end(), tap) != round.end();
    if (!first) statistics_[tap].gram = {};
    if (!first && !gram) continue;
    const int64_t k = tap_k_.at(tap);
    OCTAVO_ASSIGN_OR_RETURN(InputObserver observer, InputObserver::Create(k, gram, options_.token_norm_limit));
    observers.emplace(tap, std::move(observer));
    if (gram) flops += static_cast<double>(k) * static_cast<double>(k);
  }
  return observers;
}

Status LayerObserver::StartKeys(std::string& keys_tap) {
  const LayerModule* k_proj = FindQoqModule(*layer_, "k_proj");
  const bool wanted = options_.qoq.smooth_attention || options_.qoq.center_keys;
  if (!wanted || k_proj == nullptr) return Status::Ok();
  OCTAVO_ASSIGN_OR_RETURN(keys_,
                          KeyObserver::Create(checkpoint_, *k_proj, *options_.config, product_));
  keys_tap = tap_of_[k_proj->name];
  return Status::Ok();
}

Status LayerObserver::Observe(const Round& round, const BoundaryFile& in, BoundaryFile* out,
                              const LayerTransform& transform) {
  const bool first = statistics_.empty();
  double flops = runner_.FlopsPerToken();
  OCTAVO_ASSIGN_OR_RETURN(Observers observers, MakeObservers(round, first, flops));
  std::string keys_tap;
  if (first) OCTAVO_RETURN_IF_ERROR(StartKeys(keys_tap));
  Status failed;
  const LinearTap tap = [&](std::string_view slot, const ActivationView& input) {
    if (failed.ok() && slot == keys_tap) failed = keys_->Add(input, product_);
    const auto it = observers.find(slot);
    if (it == observers.end() || !failed.ok()) return;
    failed = it->second.Add(input, product_);
  };
  OCTAVO_RETURN_IF_ERROR(runner_.Run(in, out, &tap, [&](int64_t tokens) {
    work_(flops * static_cast<double>(tokens));
  }));
  OCTAVO_RETURN_IF_ERROR(std::move(failed));
  for (auto& [slot, observer] : observers) {
    const std::string name(slot);
    statistics_[name] = observer.Take();
    if (!first) ReorderTap(transform, name);  // it observed the layer's own order again
  }
  return CheckFinite();
}

void LayerObserver::Reorder(const LayerTransform& transform) {
  keys_.reset();
  for (const std::string& tap : taps_) ReorderTap(transform, tap);
}

void LayerObserver::ReorderTap(const LayerTransform& transform, const std::string& tap) {
  for (const auto& [module, order] : transform.column_order) {
    if (tap_of_[module] == tap) ReorderInput(order, statistics_[tap]);
  }
}

Status LayerObserver::CheckFinite() const {
  for (const auto& [slot, input] : statistics_) {
    for (size_t i = 0; i < input.abs_sum.size(); ++i) {
      if (std::isfinite(input.abs_sum[i])) continue;
      return DataLoss(fmt::format(
          "{}: calibration makes inputs that are not finite (channel {}); the model's weights or an "
          "earlier layer hold NaN or infinity",
          slot, i));
    }
  }
  return Status::Ok();
}

LayerInputs LayerObserver::Inputs() const {
  LayerInputs inputs;
  for (const auto& [module, tap] : tap_of_) {
    if (const InputStatistics* input = InputOf(module)) inputs[module] = input;
  }
  return inputs;
}

const InputStatistics* LayerObserver::InputOf(const std::string& module) const {
  const std::string* tap = TapOf(module);
  if (tap == nullptr) return nullptr;
  const auto it = statistics_.find(*tap);
  return it == statistics_.end() || it->second.num_tokens == 0 ? nullptr : &it->second;
}

}  // namespace octavo
