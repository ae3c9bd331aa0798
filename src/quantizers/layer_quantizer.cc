// SPDX-License-Identifier: Apache-2.0
// The steps of one layer.
#include "quantizers/layer_quantizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "quantizers/awq.h"
#include "quantizers/output_error.h"
#include "quantizers/quantized_source.h"

namespace octavo {
namespace {

constexpr int64_t kChunkRows = 1024;
constexpr int64_t kMeasuredRows = 128;  // of a chunk

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Appends `part` to `whole`.
void Append(const QuantizedRows& part, QuantizedRows& whole) {
  const auto append = [](const auto& from, auto& to) { to.insert(to.end(), from.begin(), from.end()); };
  whole.count += part.count;
  append(part.codes, whole.codes);
  append(part.scales, whole.scales);
  append(part.zero_points, whole.zero_points);
}

// Rounds to nearest in parallel; blocks of kRowAlignment rows, so that every scheme is served.
Status RoundToNearest(const Scheme& scheme, const TargetModule& module, const float* x,
                      int64_t row_begin, int64_t count, ThreadPool& pool, QuantizedRows& rows) {
  const int64_t blocks = (count + kRowAlignment - 1) / kRowAlignment;
  std::vector<QuantizedRows> parts(static_cast<size_t>(blocks));
  std::vector<Status> failed(static_cast<size_t>(blocks));
  pool.ParallelFor(blocks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kRowAlignment;
      const auto at = static_cast<size_t>(block);
      failed[at] = scheme.quantize(module, x + first * module.k, row_begin + first,
                                   std::min(kRowAlignment, count - first), parts[at]);
    }
  });
  for (size_t block = 0; block < parts.size(); ++block) {
    OCTAVO_RETURN_IF_ERROR(std::move(failed[block]));
    Append(parts[block], rows);
  }
  return Status::Ok();
}

}  // namespace

LayerQuantizer::LayerQuantizer(const LayerQuantizerOptions& options, const Checkpoint& checkpoint,
                               LayerRunner& runner, MatrixProduct& product,
                               std::function<void(double flops)> work)
    : options_(options), checkpoint_(checkpoint), runner_(runner), product_(product),
      work_(std::move(work)) {}

Result<QuantizedLayer> LayerQuantizer::Run(const LayerModules& layer, const BoundaryFile& in) {
  layer_ = &layer;
  statistics_.clear();
  searched_.clear();
  out_ = {};
  out_.report.layer = layer.layer;
  OCTAVO_RETURN_IF_ERROR(runner_.Load(layer.layer, nullptr, {}));
  FindTaps();
  const std::vector<Round> rounds = MakeRounds();
  for (size_t i = 0; i < rounds.size(); ++i) {
    // SmoothQuant needs no Gram matrix, so the first pass serves all sites.
    if (i > 0 && !options_.algorithm->awq) break;
    OCTAVO_RETURN_IF_ERROR(Observe(rounds[i], in));
    OCTAVO_RETURN_IF_ERROR(ChooseScales(rounds[i]));
  }
  for (const Round& round : rounds) {
    if (rounds.size() > 1) OCTAVO_RETURN_IF_ERROR(Observe(round, in));
    OCTAVO_RETURN_IF_ERROR(QuantizeRound(round));
  }
  statistics_.clear();
  return std::move(out_);
}

void LayerQuantizer::FindTaps() {
  taps_.clear();
  tap_of_.clear();
  tap_k_.clear();
  for (const Linear* linear : runner_.linears()) {
    for (const LinearPart& part : linear->parts()) tap_of_[part.module] = linear->slot();
    tap_k_[linear->slot()] = linear->k();
    taps_.push_back(linear->slot());
  }
}

std::vector<LayerQuantizer::Round> LayerQuantizer::MakeRounds() const {
  std::vector<Round> rounds(1);
  uint64_t bytes = 0;
  for (const std::string& tap : taps_) {
    const bool quantized = std::any_of(
        layer_->modules.begin(), layer_->modules.end(), [&](const LayerModule& module) {
          return module.quantized() && tap_of_.contains(module.name) && tap_of_.at(module.name) == tap;
        });
    if (!quantized) continue;
    const auto k = static_cast<uint64_t>(tap_k_.at(tap));
    const uint64_t gram = options_.algorithm->needs_gram() ? k * k * sizeof(float) : 0;
    if (bytes > 0 && bytes + gram > options_.gram_bytes) {
      rounds.emplace_back();
      bytes = 0;
    }
    bytes += gram;
    rounds.back().push_back(tap);
  }
  return rounds;
}

// The first pass looks at every tap, later ones at the round's only.
Status LayerQuantizer::Observe(const Round& round, const BoundaryFile& in) {
  const bool first = statistics_.empty();
  std::unordered_map<std::string_view, InputObserver> observers;
  double flops = 0;  // per token
  for (const std::string& tap : taps_) {
    const bool gram = options_.algorithm->needs_gram() && Contains(round, tap);
    if (!first) statistics_[tap].gram = {};
    if (!first && !gram) continue;
    const int64_t k = tap_k_.at(tap);
    OCTAVO_ASSIGN_OR_RETURN(InputObserver observer, InputObserver::Create(k, gram));
    observers.emplace(tap, std::move(observer));
    if (gram) flops += static_cast<double>(k) * static_cast<double>(k);
  }
  for (const Linear* linear : runner_.linears()) {
    flops += 2.0 * static_cast<double>(linear->n()) * static_cast<double>(linear->k());
  }
  Status failed;
  const LinearTap tap = [&](std::string_view slot, const ActivationView& input) {
    const auto it = observers.find(slot);
    if (it == observers.end() || !failed.ok()) return;
    failed = it->second.Add(input, product_);
  };
  OCTAVO_RETURN_IF_ERROR(runner_.Run(in, nullptr, &tap, [&](int64_t tokens) {
    work_(flops * static_cast<double>(tokens));
  }));
  OCTAVO_RETURN_IF_ERROR(std::move(failed));
  for (auto& [slot, observer] : observers) statistics_[std::string(slot)] = observer.Take();
  return CheckFinite();
}

Status LayerQuantizer::CheckFinite() const {
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

LayerInputs LayerQuantizer::Inputs() const {
  LayerInputs inputs;
  for (const auto& [module, tap] : tap_of_) {
    const auto it = statistics_.find(tap);
    if (it != statistics_.end() && it->second.num_tokens > 0) inputs[module] = &it->second;
  }
  return inputs;
}

const InputStatistics* LayerQuantizer::InputOf(const std::string& module) const {
  const auto tap = tap_of_.find(module);
  if (tap == tap_of_.end()) return nullptr;
  const auto it = statistics_.find(tap->second);
  return it == statistics_.end() || it->second.num_tokens == 0 ? nullptr : &it->second;
}

Status LayerQuantizer::ChooseScales(const Round& round) {
  for (const LayerSite& site : layer_->sites) {
    if (std::find(searched_.begin(), searched_.end(), &site) != searched_.end()) continue;
    if (options_.algorithm->smoothquant && !site.norm) continue;
    if (!options_.algorithm->smoothquant && !options_.algorithm->awq) continue;
    const bool here = std::any_of(site.consumers.begin(), site.consumers.end(), [&](size_t i) {
      const LayerModule& module = layer_->modules[i];
      return tap_of_.contains(module.name) && Contains(round, tap_of_.at(module.name));
    });
    if (options_.algorithm->awq && !here) continue;
    OCTAVO_RETURN_IF_ERROR(ChooseSite(site));
    searched_.push_back(&site);
  }
  return Status::Ok();
}

Status LayerQuantizer::ChooseSite(const LayerSite& site) {
  const LayerInputs inputs = Inputs();
  const bool seen = std::any_of(site.consumers.begin(), site.consumers.end(), [&](size_t i) {
    return inputs.contains(layer_->modules[i].name);
  });
  if (!seen) return Status::Ok();  // the expert saw no token: nothing to go by
  SiteReport report;
  report.producer = site.producer;
  for (const size_t index : site.consumers) report.consumers.push_back(layer_->modules[index].name);
  std::vector<float> scales;
  if (options_.algorithm->awq) {
    OCTAVO_ASSIGN_OR_RETURN(AwqScales found, SearchAwqScales(*options_.scheme, checkpoint_, *layer_,
                                                             site, inputs, product_));
    report.method = "awq";
    report.strength = found.ratio;
    report.error_ratio = found.error;
    scales = std::move(found.scales);
  } else {
    OCTAVO_ASSIGN_OR_RETURN(scales, SmoothQuantScales(checkpoint_, *layer_, site, inputs,
                                                      options_.smoothing_strength));
    report.method = "smoothquant";
    report.strength = static_cast<double>(options_.smoothing_strength);
  }
  const auto [low, high] = std::minmax_element(scales.begin(), scales.end());
  report.scale_min = static_cast<double>(*low);
  report.scale_max = static_cast<double>(*high);
  out_.report.sites.push_back(std::move(report));
  return FoldScales(checkpoint_, *layer_, site, std::move(scales), out_.transform);
}

Status LayerQuantizer::QuantizeRound(const Round& round) {
  for (const std::string& tap : round) {
    std::optional<GptqFactor> factor;
    std::string note;
    for (const LayerModule& module : layer_->modules) {
      if (!module.quantized() || tap_of_[module.name] != tap) continue;
      const InputStatistics* input = InputOf(module.name);
      if (input == nullptr) note = "no calibration token reached it: rounded to nearest";
      if (options_.algorithm->gptq && input != nullptr && !factor && note.empty()) {
        const std::vector<float>* scale = out_.transform.ColumnScale(module.name);
        auto made = FactorHessian(*input, scale == nullptr ? std::vector<float>() : *scale,
                                  options_.gptq, product_);
        const double k = static_cast<double>(input->k);
        work_(k * k * k);
        if (made.ok()) {
          factor = std::move(made).value();
        } else if (made.status().code() == StatusCode::kFailedPrecondition) {
          note = made.status().message() + ": rounded to nearest";
        } else {
          return std::move(made).status();
        }
      }
      OCTAVO_RETURN_IF_ERROR(QuantizeModule(module, factor ? &*factor : nullptr, note));
    }
  }
  return Status::Ok();
}

Status LayerQuantizer::QuantizeModule(const LayerModule& module, const GptqFactor* factor,
                                      const std::string& note) {
  const TargetModule& target = *module.planned->module;
  const InputStatistics* input = InputOf(module.name);
  ModuleReport report;
  report.module = module.name;
  report.note = note;
  report.algorithm = factor != nullptr                              ? "gptq"
                     : options_.algorithm->awq && input != nullptr ? "awq"
                                                                   : "rtn";
  const bool query_or_key = module.role == "q_proj" || module.role == "k_proj";
  if (options_.algorithm->awq && input != nullptr && !query_or_key) {
    OCTAVO_ASSIGN_OR_RETURN(out_.transform.clip[module.name],
                            SearchAwqClip(*options_.scheme, checkpoint_, module, out_.transform,
                                          *input, product_));
  }
  auto rows = std::make_shared<QuantizedRows>();
  OutputError error;
  std::vector<float> x(static_cast<size_t>(std::min(kChunkRows, target.n) * target.k));
  for (int64_t begin = 0; begin < target.n; begin += kChunkRows) {
    if (options_.cancel != nullptr && options_.cancel->load()) return Cancelled("interrupted");
    const int64_t count = std::min(kChunkRows, target.n - begin);
    OCTAVO_RETURN_IF_ERROR(ReadOriginalRows(checkpoint_, *module.tensor, begin, count, x.data()));
    TransformRows(out_.transform, module.name, target.k, begin, count, /*clipped=*/true, x.data());
    QuantizedRows part;
    if (factor != nullptr) {
      OCTAVO_RETURN_IF_ERROR(QuantizeGptq(*options_.scheme, target, *factor, x.data(), begin, count,
                                          product_, part));
    } else {
      OCTAVO_RETURN_IF_ERROR(RoundToNearest(*options_.scheme, target, x.data(), begin, count,
                                            product_.pool(), part));
    }
    Append(part, *rows);
    if (input != nullptr && input->has_gram()) {
      OCTAVO_RETURN_IF_ERROR(MeasureRows(module, begin, count, std::move(part), error));
    }
    work_(static_cast<double>(count) * static_cast<double>(target.k) * static_cast<double>(target.k));
  }
  if (error.signal > 0) {
    report.output_relative_error = error.relative_error();
    report.output_cosine = error.cosine();
  }
  if (input != nullptr) {
    const std::vector<float>* scale = out_.transform.ColumnScale(module.name);
    report.num_tokens = input->num_tokens;
    report.input_absmax = static_cast<double>(input->MaxAbs());
    for (size_t i = 0; i < input->absmax.size(); ++i) {
      const float smoothed = input->absmax[i] / (scale == nullptr ? 1.0f : (*scale)[i]);
      report.input_absmax_smoothed =
          std::max(report.input_absmax_smoothed, static_cast<double>(smoothed));
    }
  }
  if (factor != nullptr) report.damping = factor->damping;
  out_.report.modules.push_back(std::move(report));
  out_.modules[module.name] = std::move(rows);
  return Status::Ok();
}

// Compares the first rows of a chunk with what the layer's function needs them to be.
Status LayerQuantizer::MeasureRows(const LayerModule& module, int64_t begin, int64_t count,
                                   QuantizedRows rows, OutputError& error) {
  const int64_t k = module.tensor->cols();
  std::vector<float> quantized(static_cast<size_t>(count * k));
  Dequantize(*options_.scheme, *module.planned->module, rows, quantized.data());
  const int64_t measured = std::min(kMeasuredRows, count);
  std::vector<float> original(static_cast<size_t>(measured * k));
  OCTAVO_RETURN_IF_ERROR(
      ReadOriginalRows(checkpoint_, *module.tensor, begin, measured, original.data()));
  LayerTransform rows_only;
  if (const auto it = out_.transform.row_scale.find(module.name); it != out_.transform.row_scale.end()) {
    rows_only.row_scale.insert(*it);
  }
  TransformRows(rows_only, module.name, k, begin, measured, false, original.data());
  if (const std::vector<float>* scale = out_.transform.ColumnScale(module.name)) {
    for (int64_t i = 0; i < measured * k; ++i) {
      quantized[static_cast<size_t>(i)] /= (*scale)[static_cast<size_t>(i % k)];
    }
  }
  return AddOutputError(original.data(), quantized.data(), measured,
                        InputOf(module.name)->Gram(), product_, error);
}

LayerRunner::Replace LayerQuantizer::Replacement(const LayerModules& layer,
                                                 const QuantizedLayer& quantized) const {
  return [this, &layer, &quantized](const std::string& name) -> Result<std::unique_ptr<WeightSource>> {
    if (const auto it = quantized.modules.find(name); it != quantized.modules.end()) {
      return MakeQuantizedSource(*options_.scheme, *layer.Find(name)->planned->module, it->second);
    }
    const auto dense = quantized.transform.dense.find(name + ".weight");
    const LayerModule* module = layer.Find(name);
    if (dense == quantized.transform.dense.end() || module == nullptr) {
      return std::unique_ptr<WeightSource>();
    }
    return MakeDenseSource(name, module->tensor->rows(), module->tensor->cols(), dense->second);
  };
}

}  // namespace octavo
