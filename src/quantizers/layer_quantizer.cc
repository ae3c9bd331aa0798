// SPDX-License-Identifier: Apache-2.0
// The steps of one layer.
#include "quantizers/layer_quantizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "quantizers/output_error.h"
#include "quantizers/qoq_layer.h"
#include "quantizers/quantized_source.h"
#include "quantizers/round_to_nearest.h"
#include "schemes/rtn.h"

namespace octavo {
namespace {

constexpr int64_t kChunkRows = 1024;
constexpr int64_t kMeasuredRows = 128;  // of a chunk

}  // namespace

LayerQuantizer::LayerQuantizer(const LayerQuantizerOptions& options, const Checkpoint& checkpoint,
                               LayerRunner& runner, MatrixProduct& product,
                               std::function<void(double flops)> work)
    : options_(options), checkpoint_(checkpoint), runner_(runner), product_(product),
      work_(std::move(work)), observer_(options.observer, checkpoint, runner, product, work_) {}

Result<QuantizedLayer> LayerQuantizer::Run(const LayerModules& layer, const BoundaryFile& in,
                                           BoundaryFile* out) {
  layer_ = &layer;
  searched_.clear();
  judge_.reset();
  out_ = {};
  out_.report.layer = layer.layer;
  if (!layer.quantized() && out == nullptr) return std::move(out_);
  OCTAVO_RETURN_IF_ERROR(runner_.Load(layer.layer, nullptr, {}));
  OCTAVO_RETURN_IF_ERROR(observer_.Start(layer));
  const std::vector<Round> rounds = observer_.MakeRounds();
  const std::vector<std::string>& taps = observer_.taps();
  const bool awq = std::any_of(taps.begin(), taps.end(), [&](const std::string& tap) {
    return observer_.AlgorithmOf(tap).awq;
  });
  for (size_t i = 0; i < rounds.size(); ++i) {
    // SmoothQuant needs no Gram matrix, so the first pass serves all sites.
    if (i > 0 && !awq) break;
    OCTAVO_RETURN_IF_ERROR(observer_.Observe(rounds[i], in, i == 0 ? out : nullptr, out_.transform));
    if (i == 0) OCTAVO_RETURN_IF_ERROR(ChooseQoq());
    OCTAVO_RETURN_IF_ERROR(ChooseScales(rounds[i], in));
  }
  for (const Round& round : rounds) {
    if (rounds.size() > 1) {
      OCTAVO_RETURN_IF_ERROR(observer_.Observe(round, in, nullptr, out_.transform));
    }
    OCTAVO_RETURN_IF_ERROR(QuantizeRound(round));
  }
  observer_.Finish();
  return std::move(out_);
}

Status LayerQuantizer::ChooseQoq() {
  const LayerInputs inputs = observer_.Inputs();
  const KeyStatistics keys = observer_.Keys();
  OCTAVO_RETURN_IF_ERROR(ChooseQoqTransform({.checkpoint = checkpoint_,
                                             .layer = *layer_,
                                             .config = *options_.observer.config,
                                             .options = options_.observer.qoq,
                                             .inputs = inputs,
                                             .keys = keys},
                                            out_.transform, out_.report));
  observer_.Reorder(out_.transform);
  return Status::Ok();
}

bool LayerQuantizer::Clips(const LayerModule& module) const {
  return module.algorithm().clip && (!module.algorithm().qoq || options_.observer.qoq.clip);
}

bool LayerQuantizer::UsesGptq(const LayerModule& module) const {
  return module.algorithm().gptq && (!module.algorithm().qoq || options_.observer.qoq.gptq);
}

const LayerModule* LayerQuantizer::ScaledConsumer(const LayerSite& site) const {
  const LayerModule* found = nullptr;
  for (const size_t index : site.consumers) {
    const LayerModule& module = layer_->modules[index];
    if (module.algorithm().smoothquant && site.norm) return &module;
    if (module.algorithm().awq && found == nullptr) found = &module;
  }
  return found;
}

Status LayerQuantizer::ChooseScales(const Round& round, const BoundaryFile& in) {
  for (const LayerSite& site : layer_->sites) {
    if (std::find(searched_.begin(), searched_.end(), &site) != searched_.end()) continue;
    const LayerModule* scaled = ScaledConsumer(site);
    if (scaled == nullptr) continue;
    const bool here = std::any_of(site.consumers.begin(), site.consumers.end(), [&](size_t i) {
      const std::string* tap = observer_.TapOf(layer_->modules[i].name);
      return tap != nullptr && std::find(round.begin(), round.end(), *tap) != round.end();
    });
    if (scaled->algorithm().awq && !here) continue;
    OCTAVO_RETURN_IF_ERROR(ChooseSite(site, in));
    searched_.push_back(&site);
  }
  return Status::Ok();
}

Result<AwqScales> LayerQuantizer::SearchScales(const LayerSite& site, const LayerInputs& inputs,
                                               const BoundaryFile& in) {
  if (!site.norm) {
    OCTAVO_ASSIGN_OR_RETURN(const LinearJudge judge, LinearJudge::Create(checkpoint_, Voters(*layer_, site, inputs),
                                                                         inputs, product_));
    return SearchAwqScales(checkpoint_, *layer_, site, inputs,
                           [&](const std::vector<float>& scales) { return judge.Error(scales); });
  }
  if (!judge_) {
    OCTAVO_ASSIGN_OR_RETURN(judge_, LayerJudge::Create(checkpoint_, runner_, layer_->layer, in));
  }
  const std::vector<const LayerModule*> voters = Voters(*layer_, site, inputs);
  OCTAVO_ASSIGN_OR_RETURN(
      AwqScales found,
      SearchAwqScales(checkpoint_, *layer_, site, inputs, [&](const std::vector<float>& scales) {
        work_(runner_.FlopsPerToken() * static_cast<double>(judge_->num_tokens()));
        return judge_->Error(voters, scales);
      }));
  OCTAVO_RETURN_IF_ERROR(runner_.Load(layer_->layer, nullptr, {}));  // for the next one who looks
  return found;
}

Status LayerQuantizer::ChooseSite(const LayerSite& site, const BoundaryFile& in) {
  const LayerInputs inputs = observer_.Inputs();
  const bool seen = std::any_of(site.consumers.begin(), site.consumers.end(), [&](size_t i) {
    return inputs.contains(layer_->modules[i].name);
  });
  if (!seen) return Status::Ok();  // the expert saw no token: nothing to go by
  SiteReport report;
  report.producer = site.producer;
  for (const size_t index : site.consumers) report.consumers.push_back(layer_->modules[index].name);
  const LayerModule& scaled = *ScaledConsumer(site);
  std::vector<float> scales;
  if (scaled.algorithm().awq) {
    OCTAVO_ASSIGN_OR_RETURN(AwqScales found, SearchScales(site, inputs, in));
    report.method = "awq";
    report.duo_scaling = found.duo_scaling;
    report.strength = found.ratio;
    report.error_ratio = found.error;
    scales = std::move(found.scales);
  } else {
    const double wanted = scaled.recipe().smoothing_strength;
    const float alpha = wanted >= 0 ? static_cast<float>(wanted) : options_.smoothing_strength;
    OCTAVO_ASSIGN_OR_RETURN(scales, SmoothQuantScales(checkpoint_, *layer_, site, inputs, alpha));
    report.method = "smoothquant";
    report.strength = static_cast<double>(alpha);
  }
  const auto [low, high] = std::minmax_element(scales.begin(), scales.end());
  report.scale_min = static_cast<double>(*low);
  report.scale_max = static_cast<double>(*high);
  out_.report.sites.push_back(std::move(report));
  return FoldScales(checkpoint_, *layer_, site, std::move(scales), out_.transform);
}

Result<std::optional<GptqFactor>> LayerQuantizer::Factor(const LayerModule& module,
                                                         std::string& note) {
  std::optional<GptqFactor> factor;
  const InputStatistics* input = observer_.InputOf(module.name);
  if (input == nullptr || !UsesGptq(module)) return factor;
  const std::vector<float>* scale = out_.transform.ColumnScale(module.name);
  auto made = FactorHessian(*input, scale == nullptr ? std::vector<float>() : *scale,
                            module.recipe().gptq, product_);
  const double k = static_cast<double>(input->k);
  work_(k * k * k);
  if (made.ok()) {
    factor = std::move(made).value();
  } else if (made.status().code() == StatusCode::kFailedPrecondition) {
    note = made.status().message() + ": rounded to nearest";
  } else {
    return std::move(made).status();
  }
  return factor;
}

Status LayerQuantizer::QuantizeRound(const Round& round) {
  for (const std::string& tap : round) {
    std::string note;
    const LayerModule& first = observer_.QuantizedModule(tap);
    if (observer_.InputOf(first.name) == nullptr && observer_.AlgorithmOf(tap).name != kRoundToNearest) {
      note = "no calibration token reached it: rounded to nearest";
    }
    OCTAVO_ASSIGN_OR_RETURN(const std::optional<GptqFactor> factor, Factor(first, note));
    for (const LayerModule& module : layer_->modules) {
      const std::string* other = observer_.TapOf(module.name);
      if (!module.quantized() || other == nullptr || *other != tap) continue;
      OCTAVO_RETURN_IF_ERROR(QuantizeModule(module, factor ? &*factor : nullptr, note));
    }
  }
  return Status::Ok();
}

Result<std::vector<float>> LayerQuantizer::ReadTransformed(const LayerModule& module, int64_t begin,
                                                           int64_t count) {
  const int64_t k = module.tensor->cols();
  std::vector<float> x(static_cast<size_t>(count * k));
  const TransformedModule weight(checkpoint_, out_.transform, module.name, *module.tensor);
  OCTAVO_RETURN_IF_ERROR(weight.Read(begin, count, RowStage::kClipped, x.data()));
  return x;
}

// An expert without tokens gets the range of the others, or else that of AutoFP8's unused experts.
float LayerQuantizer::InputRange(const LayerModule& module, std::string& note) const {
  constexpr float kUnseenRange = 16;
  if (observer_.InputOf(module.name) != nullptr) {
    return static_cast<float>(MakeReport(module, nullptr).input_absmax_smoothed);
  }
  float largest = 0;
  for (const LayerModule& other : layer_->modules) {
    if (other.role != module.role || observer_.InputOf(other.name) == nullptr) continue;
    largest = std::max(largest, InputRange(other, note));
  }
  note = fmt::format("no calibration token reached it: input range {}",
                     largest > 0 ? "of the other experts" : "16");
  return largest > 0 ? largest : kUnseenRange;
}

Result<TargetModule> LayerQuantizer::MakeTarget(const LayerModule& module, std::string& note) {
  TargetModule target = *module.planned->module;
  if (target.args.static_input()) {
    const float range = RoundToDType(target.dtype, InputRange(module, note));
    target.input_scale = StaticInputScale(*target.args.input, target.dtype, range);
    out_.input_scales[module.name] = target.input_scale;
  }
  if (target.args.weights.strategy != Strategy::kTensor) return target;
  for (int64_t begin = 0; begin < target.n; begin += kChunkRows) {
    const int64_t count = std::min(kChunkRows, target.n - begin);
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<float> x, ReadTransformed(module, begin, count));
    OCTAVO_ASSIGN_OR_RETURN(const float absmax, AbsMax(target, x.data(), begin, count));
    target.absmax = std::max(target.absmax, absmax);
  }
  return target;
}

Result<QuantizedRows> LayerQuantizer::QuantizeRows(const LayerModule& module,
                                                   const TargetModule& target,
                                                   const GptqFactor* factor, int64_t begin,
                                                   int64_t count) {
  const TransformedModule weight(checkpoint_, out_.transform, module.name, *module.tensor);
  std::vector<float> x(static_cast<size_t>(count * target.k));
  QuantizedRows rows;
  if (factor == nullptr) {
    OCTAVO_RETURN_IF_ERROR(weight.Read(begin, count, RowStage::kClipped, x.data()));
    OCTAVO_RETURN_IF_ERROR(
        RoundToNearest(module.scheme(), target, x.data(), begin, count, product_.pool(), rows));
    return rows;
  }
  // AWQ's limits make the scales; what they cut off is an error that GPTQ spreads like any other.
  OCTAVO_RETURN_IF_ERROR(weight.Read(begin, count, RowStage::kScaled, x.data()));
  GptqRows block{.x = x.data(), .row_begin = begin, .count = count};
  std::vector<float> clipped;
  if (weight.clips()) {
    clipped = x;
    weight.Clip(begin, count, clipped.data());
    block.clipped = clipped.data();
  }
  OCTAVO_RETURN_IF_ERROR(QuantizeGptq(module.scheme(), target, *factor, block, product_, rows));
  return rows;
}

Status LayerQuantizer::QuantizeModule(const LayerModule& module, const GptqFactor* factor,
                                      std::string note) {
  const InputStatistics* input = observer_.InputOf(module.name);
  const bool query_or_key = module.role == "q_proj" || module.role == "k_proj";
  if (Clips(module) && input != nullptr && !query_or_key) {
    OCTAVO_ASSIGN_OR_RETURN(out_.transform.clip[module.name],
                            SearchAwqClip(checkpoint_, module, out_.transform, *input, product_));
  }
  OCTAVO_ASSIGN_OR_RETURN(const TargetModule target, MakeTarget(module, note));
  auto rows = std::make_shared<QuantizedRows>();
  OutputError error;
  for (int64_t begin = 0; begin < target.n; begin += kChunkRows) {
    if (options_.cancel != nullptr && options_.cancel->load()) return Cancelled("interrupted");
    const int64_t count = std::min(kChunkRows, target.n - begin);
    OCTAVO_ASSIGN_OR_RETURN(QuantizedRows part, QuantizeRows(module, target, factor, begin, count));
    Append(part, *rows);
    if (input != nullptr && input->has_gram()) {
      OCTAVO_RETURN_IF_ERROR(MeasureRows(module, begin, count, std::move(part), error));
    }
    work_(static_cast<double>(count) * static_cast<double>(target.k) * static_cast<double>(target.k));
  }
  ModuleReport report = MakeReport(module, factor);
  report.note = std::move(note);
  if (error.signal > 0) {
    report.output_relative_error = error.relative_error();
    report.output_cosine = error.cosine();
  }
  out_.report.modules.push_back(std::move(report));
  out_.modules[module.name] = std::move(rows);
  return Status::Ok();
}

ModuleReport LayerQuantizer::MakeReport(const LayerModule& module, const GptqFactor* factor) const {
  const InputStatistics* input = observer_.InputOf(module.name);
  ModuleReport report;
  report.module = module.name;
  report.scheme = module.scheme().name;
  report.algorithm = factor != nullptr                              ? "gptq"
                     : module.algorithm().awq && input != nullptr ? module.algorithm().name
                     : out_.transform.clip.contains(module.name)  ? "clip"
                                                                  : kRoundToNearest;
  if (factor != nullptr) report.damping = factor->damping;
  if (input == nullptr) return report;
  const std::vector<float>* scale = out_.transform.ColumnScale(module.name);
  report.num_tokens = input->num_tokens;
  report.input_absmax = static_cast<double>(input->MaxAbs());
  for (size_t i = 0; i < input->absmax.size(); ++i) {
    const float smoothed = input->absmax[i] / (scale == nullptr ? 1.0f : (*scale)[i]);
    report.input_absmax_smoothed =
        std::max(report.input_absmax_smoothed, static_cast<double>(smoothed));
  }
  return report;
}

// Compares the first rows of a chunk with what the layer's function needs them to be.
Status LayerQuantizer::MeasureRows(const LayerModule& module, int64_t begin, int64_t count,
                                   QuantizedRows rows, OutputError& error) {
  const int64_t k = module.tensor->cols();
  std::vector<float> quantized(static_cast<size_t>(count * k));
  Dequantize(module.scheme(), *module.planned->module, rows, quantized.data());
  const int64_t measured = std::min(kMeasuredRows, count);
  std::vector<float> original(static_cast<size_t>(measured * k));
  const TransformedModule weight(checkpoint_, out_.transform, module.name, *module.tensor);
  OCTAVO_RETURN_IF_ERROR(weight.Read(begin, measured, RowStage::kOutputs, original.data()));
  if (const std::vector<float>* scale = out_.transform.ColumnScale(module.name)) {
    for (int64_t i = 0; i < measured * k; ++i) {
      quantized[static_cast<size_t>(i)] /= (*scale)[static_cast<size_t>(i % k)];
    }
  }
  return AddOutputError(original.data(), quantized.data(), measured,
                        observer_.InputOf(module.name)->Gram(), product_, error);
}

TargetModule TargetOf(const LayerModule& module, const QuantizedLayer& quantized) {
  TargetModule target = *module.planned->module;
  const auto scale = quantized.input_scales.find(module.name);
  if (scale != quantized.input_scales.end()) target.input_scale = scale->second;
  return target;
}

LayerRunner::Replace LayerQuantizer::Replacement(const LayerModules& layer,
                                                 const QuantizedLayer& quantized) const {
  return [&layer, &quantized](const std::string& name) -> Result<std::unique_ptr<WeightSource>> {
    if (const auto it = quantized.modules.find(name); it != quantized.modules.end()) {
      const LayerModule& module = *layer.Find(name);
      return MakeQuantizedSource(module.scheme(), TargetOf(module, quantized), it->second);
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
