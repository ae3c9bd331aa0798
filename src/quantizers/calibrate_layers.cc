// SPDX-License-Identifier: Apache-2.0
// The loop over layers, its state on disk, and its share of the output.
#include "quantizers/calibrate_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <span>
#include <utility>

#include "base/cpu_features.h"
#include "base/file.h"
#include "io/hf_config.h"
#include "quantizers/boundary_file.h"
#include "quantizers/encode_floats.h"
#include "quantizers/layer_quantizer.h"
#include "schemes/rtn.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStateFile = "octavo_calibration.json";
constexpr std::array<const char*, 2> kBoundaryFiles = {"octavo_boundary_0.f32",
                                                       "octavo_boundary_1.f32"};
// Gram matrices held at a time unless --memory-limit says otherwise: all of a layer of Llama-3-8B.
constexpr uint64_t kGramBytes = uint64_t{2} << 30;

Status Remove(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  return error ? IoError(fmt::format("{}: remove failed: {}", path, error.message())) : Status::Ok();
}

// Counts floating-point operations; all layers of a model cost about the same.
class WorkMeter {
 public:
  WorkMeter(int64_t layers, int64_t first_layer, double layer_estimate, const QuantizeProgress& report)
      : layers_(static_cast<double>(layers)), layer_(layer_estimate), report_(report),
        skipped_(static_cast<double>(first_layer)) {}

  void Add(double flops) {
    done_ += flops;
    if (!report_) return;
    const double total = std::max(layer_ * layers_, done_ + skipped_ * layer_);
    report_(static_cast<uint64_t>((done_ + skipped_ * layer_) / 1e9), static_cast<uint64_t>(total / 1e9));
  }
  void FinishLayer() {
    ++finished_;
    layer_ = done_ / finished_;
  }

 private:
  const double layers_;
  double layer_;
  const QuantizeProgress& report_;
  const double skipped_;
  double done_ = 0;
  double finished_ = 0;
};

// A whole module's bytes in its stored form.
void EncodeModule(const ModuleRecipe& recipe, TargetModule module, const QuantizedRows& rows,
                  std::vector<TensorPiece>& pieces) {
  if (recipe.form == recipe.scheme) return recipe.form->encode(module, rows, 0, pieces);
  QuantizedRows stored = rows;
  recipe.scheme->to_w8a8(module, stored);
  module.args = recipe.stored_args();
  recipe.form->encode(module, stored, 0, pieces);
}

class Calibration {
 public:
  Calibration(const CalibrationJob& job, const ModelArch& arch, ModelConfig config,
              LayerRunner runner, IsaLevel isa)
      : job_(job), arch_(arch), config_(std::move(config)), product_(isa, *job.pool),
        runner_(std::move(runner)) {}

  Result<CalibrationReport> Run() {
    OCTAVO_RETURN_IF_ERROR(CheckSamples());
    OCTAVO_ASSIGN_OR_RETURN(layers_, FindLayerModules(arch_, config_, *job_.checkpoint, *job_.plan));
    const CalibrationData& data = *job_.options->calibration;
    report_ = {.algorithm = job_.plan->summary.algorithm,
               .source = data.source,
               .num_samples = static_cast<int64_t>(data.samples.size()),
               .num_tokens = data.num_tokens,
               .token_norm_limit = job_.options->token_norm_limit,
               .layers = {}};
    OCTAVO_RETURN_IF_ERROR(StartOrContinue());
    WorkMeter meter(config_.num_layers, next_, EstimateLayer(), *job_.progress);
    LayerQuantizer quantizer(QuantizerOptions(), *job_.checkpoint, runner_, product_,
                             [&](double flops) { meter.Add(flops); });
    for (; next_ < config_.num_layers; ++next_) {
      OCTAVO_RETURN_IF_ERROR(RunLayer(quantizer, meter));
      meter.FinishLayer();
    }
    return RemoveScratch();
  }

 private:
  const std::string BoundaryPath(int which) const {
    return job_.folder->FilePath(kBoundaryFiles[static_cast<size_t>(which)]);
  }

  Status CheckSamples() const {
    const auto& samples = job_.options->calibration->samples;
    for (size_t i = 0; i < samples.size(); ++i) {
      const auto length = static_cast<int64_t>(samples[i].size());
      if (length > config_.max_position_embeddings) {
        return InvalidArgument(fmt::format(
            "calibration sample {} has {} tokens, the model takes {} (--max-seq-length)", i + 1,
            length, config_.max_position_embeddings));
      }
    }
    return Status::Ok();
  }

  LayerQuantizerOptions QuantizerOptions() const {
    const QuantizeOptions& options = *job_.options;
    LayerQuantizerOptions quantizer;
    quantizer.smoothing_strength = arch_.smoothing_strength;
    quantizer.observer.config = &config_;
    quantizer.observer.qoq = options.qoq;
    quantizer.observer.token_norm_limit = options.token_norm_limit;
    quantizer.observer.gram_bytes = options.memory_limit > 0 ? options.memory_limit / 4 : kGramBytes;
    quantizer.cancel = options.cancel;
    return quantizer;
  }

  // Two passes over the tokens, the Gram matrices and the solver, roughly.
  double EstimateLayer() const {
    double weights = 0;
    for (const LayerModule& module : layers_.front().modules) {
      weights += static_cast<double>(module.tensor->shape.NumElements());
    }
    return 6.0 * weights * static_cast<double>(runner_.num_tokens());
  }

  // Reads the state of the run that is continued; a new run starts with the embeddings.
  Status StartOrContinue() {
    const std::string state = job_.folder->FilePath(kStateFile);
    std::error_code error;
    if (fs::exists(state, error) && Continue(state).ok()) return Status::Ok();
    next_ = 0;
    current_ = 0;
    report_.layers.clear();
    OCTAVO_ASSIGN_OR_RETURN(boundary_, BoundaryFile::Create(BoundaryPath(0), runner_.num_tokens(),
                                                            config_.hidden_size));
    return runner_.Embed(*boundary_);
  }

  // Anything that does not fit means that the run starts over, so errors need no details.
  Status Continue(const std::string& path) {
    OCTAVO_ASSIGN_OR_RETURN(const Json state, ParseJsonFile(path));
    OCTAVO_ASSIGN_OR_RETURN(next_, GetInt(state, "next_layer", 1, config_.num_layers));
    OCTAVO_ASSIGN_OR_RETURN(const int64_t current, GetInt(state, "boundary", 0, 1));
    OCTAVO_ASSIGN_OR_RETURN(const std::string hash, GetString(state, "hash"));
    current_ = static_cast<int>(current);
    const Json* reports = Find(state, "layers");
    if (reports == nullptr || !reports->is_array()) return DataLoss("no layers");
    for (const Json& json : *reports) {
      OCTAVO_ASSIGN_OR_RETURN(LayerReport report, ParseLayerReport(json));
      report_.layers.push_back(std::move(report));
    }
    for (int64_t layer = 0; layer < next_; ++layer) {
      for (const LayerModule& module : layers_[static_cast<size_t>(layer)].modules) {
        if (module.quantized() && !job_.writers->IsComplete(*module.planned)) {
          return DataLoss("a finished layer is not on disk");
        }
      }
    }
    if (next_ == config_.num_layers) return Status::Ok();
    OCTAVO_ASSIGN_OR_RETURN(boundary_, BoundaryFile::Open(BoundaryPath(current_),
                                                          runner_.num_tokens(),
                                                          config_.hidden_size, hash));
    return Status::Ok();
  }

  Status RunLayer(LayerQuantizer& quantizer, WorkMeter& meter) {
    const auto start = std::chrono::steady_clock::now();
    const LayerModules& layer = layers_[static_cast<size_t>(next_)];
    const int other = 1 - current_;
    OCTAVO_ASSIGN_OR_RETURN(BoundaryFile out,
                            BoundaryFile::Create(BoundaryPath(other), runner_.num_tokens(),
                                                 config_.hidden_size));
    const bool only_rounds = OnlyRounds();
    OCTAVO_ASSIGN_OR_RETURN(QuantizedLayer quantized,
                            quantizer.Run(layer, *boundary_, only_rounds ? &out : nullptr));
    // Nothing but the KV scales reads what the last layer makes.
    const bool read = next_ + 1 < config_.num_layers || !job_.options->kv_cache_scheme.empty();
    if (!only_rounds && read) {
      OCTAVO_RETURN_IF_ERROR(runner_.Load(next_, quantizer.Replacement(layer, quantized),
                                          quantized.transform.dense));
      const double flops = runner_.FlopsPerToken();
      OCTAVO_RETURN_IF_ERROR(runner_.Run(*boundary_, &out, nullptr, [&](int64_t tokens) {
        meter.Add(flops * static_cast<double>(tokens));
      }));
    }
    OCTAVO_RETURN_IF_ERROR(WriteLayer(layer, quantized));
    OCTAVO_RETURN_IF_ERROR(WriteKvScales(layer));
    boundary_ = std::move(out);
    current_ = other;
    quantized.report.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report_.layers.push_back(std::move(quantized.report));
    return SaveState();
  }

  Status WriteLayer(const LayerModules& layer, const QuantizedLayer& quantized) {
    std::vector<TensorPiece> pieces;
    for (const LayerModule& module : layer.modules) {
      const auto rows = quantized.modules.find(module.name);
      if (rows == quantized.modules.end()) continue;
      EncodeModule(*module.planned->recipe, TargetOf(module, quantized), *rows->second, pieces);
      for (size_t i = 0; i < pieces.size(); ++i) {
        OCTAVO_RETURN_IF_ERROR(
            job_.writers->Write(module.planned->outputs[i].name, pieces[i].bytes));
      }
    }
    for (const auto& [name, values] : quantized.transform.dense) {
      const DType type = WrittenType(*job_.checkpoint, *job_.checkpoint->Find(name));
      OCTAVO_RETURN_IF_ERROR(job_.writers->Write(name, EncodeFloats(type, values)));
    }
    return Status::Ok();
  }

  // Without an algorithm only ranges are measured, on the original model as llm-compressor does.
  bool OnlyRounds() const {
    const auto& recipes = job_.plan->choice.recipes;
    return std::all_of(recipes.begin(), recipes.end(),
                       [](const ModuleRecipe& recipe) { return recipe.algorithm == nullptr; });
  }

  Status WriteKvScales(const LayerModules& layer) {
    if (job_.options->kv_cache_scheme.empty()) return Status::Ok();
    const KvRange range = runner_.kv_range();
    for (const LayerModule& module : layer.modules) {
      const std::optional<KvScaleNames> names = KvScalesOf(module.name);
      if (!names) continue;
      const DType type = WrittenType(*job_.checkpoint, *module.tensor);
      for (const auto& [name, absmax] : {std::pair(names->k, range.k), std::pair(names->v, range.v)}) {
        const float scale = StaticInputScale(KvCacheArgs(), type, RoundToDType(type, absmax));
        OCTAVO_RETURN_IF_ERROR(job_.writers->Write(name, EncodeFloats(type, std::span(&scale, 1))));
      }
    }
    return Status::Ok();
  }

  // The shards' data first: the state must not promise what a crash may take.
  Status SaveState() {
    OCTAVO_RETURN_IF_ERROR(job_.writers->Flush());
    Json state = {{"next_layer", next_ + 1},
                  {"boundary", current_},
                  {"hash", boundary_->hash()},
                  {"layers", Json::array()}};
    for (const LayerReport& layer : report_.layers) state["layers"].push_back(ToJson(layer));
    return WriteFileAtomically(job_.folder->FilePath(kStateFile), DumpJson(state));
  }

  Result<CalibrationReport> RemoveScratch() {
    boundary_.reset();
    for (int which = 0; which < 2; ++which) {
      OCTAVO_RETURN_IF_ERROR(Remove(BoundaryPath(which)));
    }
    return std::move(report_);
  }

  const CalibrationJob& job_;
  const ModelArch& arch_;
  const ModelConfig config_;
  MatrixProduct product_;
  LayerRunner runner_;
  std::vector<LayerModules> layers_;
  CalibrationReport report_;
  int64_t next_ = 0;   // layer
  int current_ = 0;    // which scratch file it reads
  std::optional<BoundaryFile> boundary_;
};

}  // namespace

Result<CalibrationReport> CalibrateLayers(const CalibrationJob& job) {
  OCTAVO_ASSIGN_OR_RETURN(const Json config, NormalizeConfig(job.checkpoint->config()));
  OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(config));
  OCTAVO_ASSIGN_OR_RETURN(ModelConfig model_config, arch->parse_config(config));
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  OCTAVO_ASSIGN_OR_RETURN(
      LayerRunner runner,
      LayerRunner::Create({.checkpoint = job.checkpoint,
                           .arch = arch,
                           .samples = job.options->calibration->samples,
                           .isa = isa,
                           .cancel = job.options->cancel},
                          *job.pool));
  return Calibration(job, *arch, std::move(model_config), std::move(runner), isa).Run();
}

Status RemoveCalibrationState(const OutputFolder& folder) { return Remove(folder.FilePath(kStateFile)); }

Result<Json> CalibrationFingerprint(const QuantizeOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  return Json{{"tokens", HashOf(options.calibration->samples)},
              {"kv_cache_scheme", options.kv_cache_scheme},
              {"qoq", ToJson(options.qoq)},
              {"token_norm_limit", options.token_norm_limit},
              {"isa", static_cast<int>(isa)}};
}

}  // namespace octavo
