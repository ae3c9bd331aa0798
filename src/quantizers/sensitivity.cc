// SPDX-License-Identifier: Apache-2.0
// Runs a model with one unit quantized at a time.
#include "quantizers/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>

#include "base/cpu_features.h"
#include "base/digest.h"
#include "base/scratch_file.h"
#include "io/hf_config.h"
#include "models/layerwise_model.h"
#include "quantizers/carry_over.h"
#include "quantizers/layer_transform.h"
#include "quantizers/output_error.h"
#include "quantizers/prediction_comparison.h"
#include "quantizers/quantized_source.h"
#include "quantizers/round_to_nearest.h"
#include "quantizers/sensitivity_plan.h"

namespace octavo {
namespace {

constexpr int64_t kWindow = 256;  // tokens of a sample that are used

// The first tokens of the samples, in windows.
std::vector<std::vector<int32_t>> TakeWindows(const CalibrationData& data, int64_t max_tokens) {
  std::vector<std::vector<int32_t>> windows;
  int64_t left = max_tokens;
  for (const std::vector<int32_t>& sample : data.samples) {
    const int64_t count = std::min({left, kWindow, std::ssize(sample)});
    if (left < 2) break;
    if (count < 2) continue;
    windows.emplace_back(sample.begin(), sample.begin() + count);
    left -= count;
  }
  return windows;
}

}  // namespace

double Sensitivity::weights() const {
  double sum = 0;
  for (const SensitivityUnit& unit : units) sum += unit.weights;
  return sum;
}

class SensitivityMeter::Impl {
 public:
  Impl(const SensitivityOptions& options, ThreadPool& pool)
      : options_(options), pool_(pool), windows_(TakeWindows(*options.data, options.max_tokens)) {}

  Status Open() {
    if (windows_.empty()) return InvalidArgument("the calibration data has no sample of two tokens");
    OCTAVO_ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open(options_.model));
    OCTAVO_ASSIGN_OR_RETURN(const Json json, NormalizeConfig(checkpoint_->config()));
    OCTAVO_ASSIGN_OR_RETURN(arch_, FindArch(json));
    OCTAVO_ASSIGN_OR_RETURN(const ModelConfig config, arch_->parse_config(json));
    OCTAVO_ASSIGN_OR_RETURN(plan_, SensitivityPlan::Create(options_, *checkpoint_, *arch_, config));
    plan_.FillIn(sensitivity_);
    OCTAVO_ASSIGN_OR_RETURN(LinearLoader linears, LinearLoader::Create(*checkpoint_));
    linears_.emplace(std::move(linears));
    overrides_.open = [this](const std::string& module) { return OpenWeight(module); };
    OCTAVO_ASSIGN_OR_RETURN(isa_, ActiveIsa());
    LoadOptions load;
    load.max_model_len = kWindow;
    load.overrides = &overrides_;
    hidden_size_ = static_cast<size_t>(config.hidden_size);
    for (const auto& window : windows_) {
      lengths_.push_back(std::ssize(window));
      num_tokens_ += window.size();
    }
    const LayerwiseCapacity all{.tokens = static_cast<int64_t>(num_tokens_),
                                .texts = std::ssize(windows_)};
    OCTAVO_ASSIGN_OR_RETURN(LayerwiseModel model, LayerwiseModel::Open(checkpoint_, load, KvDType::kBf16,
                                                                       isa_, pool_, all));
    model_.emplace(std::move(model));
    predictions_.emplace(*model_, pool_, lengths_);
    return MakeFingerprint();
  }

  Result<Sensitivity> Measure(const std::function<void(uint64_t, uint64_t)>& progress) {
    progress_ = &progress;
    CountWork();
    OCTAVO_ASSIGN_OR_RETURN(scratch_, ScratchFile::Create());
    OCTAVO_RETURN_IF_ERROR(Embed(reference_));
    for (int64_t layer = 0; layer < model_->config().num_layers; ++layer) {
      OCTAVO_RETURN_IF_ERROR(MeasureLayer(layer));
    }
    OCTAVO_RETURN_IF_ERROR(MeasureProbes());
    OCTAVO_RETURN_IF_ERROR(ScaleRest());
    scratch_ = ScratchFile();
    progress_ = nullptr;
    return sensitivity_;
  }

  Result<double> MeasureMix(const std::vector<int>& choice) {
    replaced_.clear();
    for (size_t i = 0; i < sensitivity_.units.size(); ++i) {
      for (const std::string& module : sensitivity_.units[i].modules) replaced_[module] = choice[i];
    }
    std::vector<float> mix;
    OCTAVO_RETURN_IF_ERROR(RunWhole(mix));
    replaced_.clear();
    if (reference_.empty()) OCTAVO_RETURN_IF_ERROR(RunWhole(reference_));
    OCTAVO_RETURN_IF_ERROR(model_->LoadHead());
    double sum = 0;
    std::vector<float> a;
    std::vector<float> b;
    for (const std::vector<size_t>& rows : predictions_->chunks()) {
      OCTAVO_RETURN_IF_ERROR(predictions_->Logits(reference_, rows, a));
      OCTAVO_RETURN_IF_ERROR(predictions_->Logits(mix, rows, b));
      OCTAVO_RETURN_IF_ERROR(predictions_->AddDivergence(a, b, rows.size(), sum));
    }
    return sum / static_cast<double>(predictions_->positions());
  }

  const std::string& fingerprint() const { return sensitivity_.fingerprint; }

 private:
  // A disturbed residual stream; its place in the scratch file is its index.
  struct Probe {
    size_t unit = 0;
    size_t candidate = 0;
  };

  Status MakeFingerprint() {
    Json json = {{"program", "octavo sensitivity 2"},
                 {"model", std::filesystem::absolute(checkpoint_->path()).lexically_normal().string()},
                 {"tokens", HashOf(windows_)},
                 {"candidates", sensitivity_.candidates},
                 {"group_sizes", sensitivity_.group_sizes},
                 {"isa", static_cast<int>(isa_)},
                 {"units", Json::array()}};
    for (const SensitivityUnit& unit : sensitivity_.units) json["units"].push_back(unit.name);
    OCTAVO_ASSIGN_OR_RETURN(json["files"], FilesIdentity(*checkpoint_));
    OCTAVO_ASSIGN_OR_RETURN(sensitivity_.fingerprint, Sha256(DumpJson(json)));
    sensitivity_.num_tokens = static_cast<int64_t>(num_tokens_);
    sensitivity_.source = options_.data->source;
    return Status::Ok();
  }

  // The weight of a module for the layer being loaded: original, or rounded as `replaced_` says.
  Result<std::unique_ptr<WeightSource>> OpenWeight(const std::string& module) {
    const auto it = replaced_.find(module);
    const PlannedTensor* planned =
        it == replaced_.end() ? nullptr : plan_.Find(static_cast<size_t>(it->second), module);
    if (planned == nullptr) return OpenOriginal(*linears_, *checkpoint_, module);
    const TargetModule& target = *planned->module;
    const Scheme& scheme = *planned->recipe->scheme;
    std::vector<float> x(static_cast<size_t>(target.n * target.k));
    OCTAVO_RETURN_IF_ERROR(
        ReadOriginalRows(*checkpoint_, *planned->source, 0, target.n, x.data()));
    auto rows = std::make_shared<QuantizedRows>();
    OCTAVO_RETURN_IF_ERROR(RoundToNearest(scheme, target, x.data(), 0, target.n, pool_, *rows));
    return MakeQuantizedSource(scheme, target, std::move(rows));
  }

  void CountWork() {
    const auto layers = static_cast<uint64_t>(model_->config().num_layers);
    total_ = layers;
    uint64_t probes = 0;
    for (const SensitivityUnit& unit : sensitivity_.units) {
      for (size_t i = 0; i < plan_.size(); ++i) {
        if (plan_.dense(i)) continue;
        ++total_;
        if (!plan_.IsMeasured(unit, i)) continue;
        total_ += layers - static_cast<uint64_t>(unit.layer) - 1;
        ++probes;
      }
    }
    total_ += probes * predictions_->chunks().size();
    done_ = 0;
  }

  Status Step(uint64_t work) {
    if (options_.cancel != nullptr && options_.cancel->load()) return Cancelled("interrupted");
    done_ += work;
    if (progress_ != nullptr && *progress_) (*progress_)(done_, std::max(done_, total_));
    return Status::Ok();
  }

  Status Embed(std::vector<float>& hidden) {
    hidden.resize(num_tokens_ * hidden_size_);
    float* at = hidden.data();
    for (const std::vector<int32_t>& window : windows_) {
      OCTAVO_RETURN_IF_ERROR(model_->Embed(window, at));
      at += window.size() * hidden_size_;
    }
    return Status::Ok();
  }

  // All windows through the loaded layer, in place.
  Status RunLayer(std::vector<float>& hidden) {
    return model_->RunLayer(lengths_, hidden.data(), {});
  }

  Status RunWhole(std::vector<float>& hidden) {
    OCTAVO_RETURN_IF_ERROR(Embed(hidden));
    for (int64_t layer = 0; layer < model_->config().num_layers; ++layer) {
      OCTAVO_RETURN_IF_ERROR(model_->LoadLayer(layer));
      OCTAVO_RETURN_IF_ERROR(RunLayer(hidden));
      OCTAVO_RETURN_IF_ERROR(Step(0));
    }
    return Status::Ok();
  }

  uint64_t ProbeBytes() const { return num_tokens_ * hidden_size_ * sizeof(float); }
  Status WriteProbe(size_t probe, const std::vector<float>& hidden) {
    return scratch_.Write(probe * ProbeBytes(), hidden.data(), ProbeBytes());
  }
  Status ReadProbe(size_t probe, std::vector<float>& hidden) const {
    hidden.resize(num_tokens_ * hidden_size_);
    return scratch_.Read(probe * ProbeBytes(), ProbeBytes(), hidden.data());
  }

  // Takes the original and all probes of earlier layers through a layer, and makes its own probes.
  Status MeasureLayer(int64_t layer) {
    const std::vector<float> before = reference_;
    std::vector<float> hidden;
    OCTAVO_RETURN_IF_ERROR(model_->LoadLayer(layer));
    OCTAVO_RETURN_IF_ERROR(RunLayer(reference_));
    OCTAVO_RETURN_IF_ERROR(Step(1));
    for (size_t probe = 0; probe < probes_.size(); ++probe) {
      OCTAVO_RETURN_IF_ERROR(ReadProbe(probe, hidden));
      OCTAVO_RETURN_IF_ERROR(RunLayer(hidden));
      OCTAVO_RETURN_IF_ERROR(WriteProbe(probe, hidden));
      OCTAVO_RETURN_IF_ERROR(Step(1));
    }
    for (size_t i = 0; i < sensitivity_.units.size(); ++i) {
      if (sensitivity_.units[i].layer != layer) continue;
      OCTAVO_RETURN_IF_ERROR(MeasureUnit(i, before));
    }
    return Status::Ok();
  }

  Status MeasureUnit(size_t index, const std::vector<float>& before) {
    SensitivityUnit& unit = sensitivity_.units[index];
    for (size_t candidate = 0; candidate < plan_.size(); ++candidate) {
      if (plan_.dense(candidate)) continue;
      replaced_.clear();
      for (const std::string& module : unit.modules) replaced_[module] = static_cast<int>(candidate);
      OCTAVO_RETURN_IF_ERROR(model_->LoadLayer(unit.layer));
      replaced_.clear();
      std::vector<float> hidden = before;
      OCTAVO_RETURN_IF_ERROR(RunLayer(hidden));
      unit.error[candidate] = MeanRelativeError(hidden, reference_, hidden_size_);
      if (!std::isfinite(unit.error[candidate])) {
        return DataLoss(fmt::format("{} in {}: the layer's output is not finite", unit.name,
                                    sensitivity_.candidates[candidate]));
      }
      if (plan_.IsMeasured(unit, candidate)) {
        OCTAVO_RETURN_IF_ERROR(WriteProbe(probes_.size(), hidden));
        probes_.push_back({index, candidate});
      }
      OCTAVO_RETURN_IF_ERROR(Step(1));
    }
    return Status::Ok();
  }

  Status MeasureProbes() {
    OCTAVO_RETURN_IF_ERROR(model_->LoadHead());
    std::vector<double> sums(probes_.size());
    std::vector<float> reference;
    std::vector<float> logits;
    std::vector<float> hidden;
    for (const std::vector<size_t>& rows : predictions_->chunks()) {
      OCTAVO_RETURN_IF_ERROR(predictions_->Logits(reference_, rows, reference));
      for (size_t probe = 0; probe < probes_.size(); ++probe) {
        OCTAVO_RETURN_IF_ERROR(ReadProbe(probe, hidden));
        OCTAVO_RETURN_IF_ERROR(predictions_->Logits(hidden, rows, logits));
        OCTAVO_RETURN_IF_ERROR(
            predictions_->AddDivergence(reference, logits, rows.size(), sums[probe]));
        OCTAVO_RETURN_IF_ERROR(Step(1));
      }
    }
    for (size_t probe = 0; probe < probes_.size(); ++probe) {
      sensitivity_.units[probes_[probe].unit].kl[probes_[probe].candidate] =
          sums[probe] / static_cast<double>(predictions_->positions());
    }
    return Status::Ok();
  }

  // Fills in the candidates that were not measured, from the measured one of most bits.
  Status ScaleRest() {
    for (SensitivityUnit& unit : sensitivity_.units) {
      std::optional<size_t> base;
      for (size_t i = 0; i < plan_.size(); ++i) {
        if (plan_.IsMeasured(unit, i) && (!base || unit.bits[i] > unit.bits[*base])) base = i;
      }
      for (size_t i = 0; i < plan_.size(); ++i) {
        if (plan_.dense(i) || plan_.IsMeasured(unit, i)) continue;
        unit.kl[i] = unit.error[*base] > 0 ? unit.kl[*base] * unit.error[i] / unit.error[*base] : 0;
      }
    }
    return Status::Ok();
  }

  const SensitivityOptions options_;
  ThreadPool& pool_;
  const std::vector<std::vector<int32_t>> windows_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  const ModelArch* arch_ = nullptr;
  IsaLevel isa_ = IsaLevel::kReference;
  SensitivityPlan plan_;
  std::optional<LinearLoader> linears_;
  WeightOverrides overrides_;
  std::unordered_map<std::string, int> replaced_;  // module -> candidate, of the layer being loaded
  std::optional<LayerwiseModel> model_;
  std::optional<PredictionComparison> predictions_;
  size_t hidden_size_ = 0;
  std::vector<int64_t> lengths_;  // of the windows
  size_t num_tokens_ = 0;
  Sensitivity sensitivity_;
  std::vector<float> reference_;  // [num_tokens, hidden_size], the original's residual stream
  ScratchFile scratch_;
  std::vector<Probe> probes_;
  const std::function<void(uint64_t, uint64_t)>* progress_ = nullptr;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

SensitivityMeter::SensitivityMeter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SensitivityMeter::SensitivityMeter(SensitivityMeter&&) noexcept = default;
SensitivityMeter::~SensitivityMeter() = default;

Result<SensitivityMeter> SensitivityMeter::Create(const SensitivityOptions& options,
                                                  ThreadPool& pool) {
  auto impl = std::make_unique<Impl>(options, pool);
  OCTAVO_RETURN_IF_ERROR(impl->Open());
  return SensitivityMeter(std::move(impl));
}

Result<Sensitivity> SensitivityMeter::Measure(
    const std::function<void(uint64_t, uint64_t)>& progress) {
  return impl_->Measure(progress);
}

Result<double> SensitivityMeter::MeasureMix(const std::vector<int>& choice) {
  return impl_->MeasureMix(choice);
}

const std::string& SensitivityMeter::fingerprint() const { return impl_->fingerprint(); }

}  // namespace octavo
