// SPDX-License-Identifier: Apache-2.0
// Measures or reads sensitivities, chooses, and writes down why.
#include "cli/auto_scheme.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/file.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "cli/sensitivity_cache.h"
#include "quality/svg_plot.h"
#include "quantizers/bit_budget.h"
#include "quantizers/module_choice.h"
#include "quantizers/sensitivity.h"

namespace octavo {
namespace {

constexpr const char* kReportStem = "octavo_sensitivity";
constexpr int kMaxTries = 5;          // at a divergence below --max-kld
constexpr size_t kFrontierRows = 24;  // of the table

// A mix, with its measured divergence.
struct Measured {
  std::string name;
  BudgetPoint point;
  double kl = 0;
};

std::string SchemeOf(const std::string& candidate) {
  return candidate == "BF16" ? std::string(kScheme_dense.name) : candidate;
}
std::string CandidateOf(const std::string& scheme) {
  return scheme == kScheme_dense.name ? "BF16" : scheme;
}

class Chooser {
 public:
  Chooser(const AutoSchemeOptions& options, double max_kld, QuantizeOptions& quantize)
      : options_(options), max_kld_(max_kld), quantize_(quantize), pool_(quantize.threads) {}

  Result<AutoScheme> Run() {
    if (options_.bits_per_weight <= 0 && max_kld_ <= 0) {
      return InvalidArgument("--scheme auto wants --bits-per-weight or --max-kld");
    }
    OCTAVO_RETURN_IF_ERROR(Measure());
    budget_.emplace(sensitivity_);
    for (size_t i = 0; i < sensitivity_.candidates.size(); ++i) {
      if (sensitivity_.candidates[i] == kScheme_dense.name) continue;
      Measured uniform{.name = sensitivity_.candidates[i], .point = budget_->Uniform(static_cast<int>(i))};
      OCTAVO_ASSIGN_OR_RETURN(uniform.kl, MeasureMix(uniform.point.choice));
      uniforms_.push_back(std::move(uniform));
    }
    OCTAVO_RETURN_IF_ERROR(Choose());
    QuantizeRecipe recipe = RecipeOf(sensitivity_, choice_.point, RecipeOf(quantize_).groups.front());
    if (recipe.groups.empty()) return InvalidArgument("the choice leaves every layer in 16 bit");
    recipe.source = Summary();
    quantize_.recipe = std::make_shared<const QuantizeRecipe>(std::move(recipe));
    fmt::print(stderr, "{}", Describe());
    return AutoScheme{
        .report = Report(), .markdown = Markdown(), .svg = Plot(), .cache = cache_->path()};
  }

 private:
  Status Measure() {
    SensitivityOptions options;
    options.model = quantize_.model;
    for (const std::string& name : options_.candidates) options.candidates.push_back(SchemeOf(name));
    options.group_size = quantize_.group_size;
    options.ignore = quantize_.ignore;
    options.data = quantize_.calibration;
    options.max_tokens = options_.tokens;
    options.cancel = quantize_.cancel;
    OCTAVO_ASSIGN_OR_RETURN(SensitivityMeter meter, SensitivityMeter::Create(options, pool_));
    meter_.emplace(std::move(meter));
    cache_.emplace(quantize_.output, meter_->fingerprint());
    known_ = cache_->Load();
    if (options_.sensitivity.empty()) return MeasureUnlessKnown();
    OCTAVO_ASSIGN_OR_RETURN(const Json json, ParseJsonFile(options_.sensitivity, {.max_bytes = 64 << 20}));
    auto parsed = ParseSensitivity(json);
    if (!parsed.ok()) return std::move(parsed).status().WithContext(options_.sensitivity);
    if (parsed->fingerprint != meter_->fingerprint()) {
      return FailedPrecondition(fmt::format(
          "{}: measured for another model, text, list of candidates or instruction set",
          options_.sensitivity));
    }
    known_.mixes = ParseMixes(json, parsed->units.size(), parsed->candidates.size());
    sensitivity_ = *std::move(parsed);
    known_.sensitivity = sensitivity_;
    return Status::Ok();
  }

  Status MeasureUnlessKnown() {
    if (known_.sensitivity) {
      fmt::print(stderr, "auto: measured before, for the same model, text and candidates\n");
      sensitivity_ = *known_.sensitivity;
      return Status::Ok();
    }
    ProgressBar bar({.label = "measure", .item_name = "layers"});
    OCTAVO_ASSIGN_OR_RETURN(sensitivity_, meter_->Measure([&bar](uint64_t done, uint64_t total) {
      bar.Update(done, total);
    }));
    known_.sensitivity = sensitivity_;
    return cache_->Save(known_);
  }

  Result<double> MeasureMix(const std::vector<int>& choice) {
    if (const auto it = known_.mixes.find(choice); it != known_.mixes.end()) return it->second;
    OCTAVO_ASSIGN_OR_RETURN(const double kl, meter_->MeasureMix(choice));
    known_.mixes[choice] = kl;
    OCTAVO_RETURN_IF_ERROR(cache_->Save(known_));
    return kl;
  }

  // Predicted divergences are sums over units; a limit is held against what the mix really has.
  Status Choose() {
    if (options_.bits_per_weight > 0) {
      OCTAVO_ASSIGN_OR_RETURN(choice_.point, budget_->ForBits(options_.bits_per_weight));
      OCTAVO_ASSIGN_OR_RETURN(choice_.kl, MeasureMix(choice_.point.choice));
      return Status::Ok();
    }
    double target = max_kld_;
    for (int i = 0; i < kMaxTries; ++i) {
      OCTAVO_ASSIGN_OR_RETURN(choice_.point, budget_->ForKl(target));
      OCTAVO_ASSIGN_OR_RETURN(choice_.kl, MeasureMix(choice_.point.choice));
      if (choice_.kl <= max_kld_) return Status::Ok();
      target = 0.9 * choice_.point.kl * max_kld_ / choice_.kl;
    }
    return FailedPrecondition(fmt::format(
        "--max-kld {}: the last of {} choices has {:.4g} on the calibration text", max_kld_, kMaxTries,
        choice_.kl));
  }

  // Units per candidate: "W4A16 70, W8A16 26".
  std::string Counts(const BudgetPoint& point) const {
    std::string text;
    for (size_t i = 0; i < sensitivity_.candidates.size(); ++i) {
      const auto count = std::count(point.choice.begin(), point.choice.end(), static_cast<int>(i));
      if (count == 0) continue;
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", CandidateOf(sensitivity_.candidates[i]),
                          count);
    }
    return text;
  }

  // The best single scheme that is not larger than the choice.
  const Measured* Rival() const {
    const Measured* best = nullptr;
    for (const Measured& uniform : uniforms_) {
      if (uniform.point.bits_per_weight > choice_.point.bits_per_weight * 1.0001) continue;
      if (best == nullptr || uniform.kl < best->kl) best = &uniform;
    }
    return best;
  }

  std::string Describe() const {
    std::string text = fmt::format(
        "auto: {:.3f} bits per weight ({}), KL divergence {:.4f} rounded to nearest on the calibration "
        "text (sum of parts {:.4f})\n",
        choice_.point.bits_per_weight, Counts(choice_.point), choice_.kl, choice_.point.kl);
    if (const Measured* rival = Rival()) {
      text += fmt::format("auto: all layers in {}: {:.3f} bits per weight, KL divergence {:.4f}\n",
                          rival->name, rival->point.bits_per_weight, rival->kl);
    }
    return text;
  }

  Json Summary() const {
    return {{"scheme", kAutoScheme},
            {"budget_bits_per_weight", options_.bits_per_weight > 0 ? Json(options_.bits_per_weight) : Json()},
            {"max_kld", options_.bits_per_weight > 0 ? Json() : Json(max_kld_)},
            {"candidates", options_.candidates},
            {"bits_per_weight", choice_.point.bits_per_weight},
            {"predicted_kl", choice_.point.kl},
            {"measured_kl", choice_.kl}};
  }

  Json Report() const {
    Json json = ToJson(sensitivity_);
    json["choice"] = Summary();
    json["choice"]["units"] = Json::object();
    for (size_t i = 0; i < sensitivity_.units.size(); ++i) {
      json["choice"]["units"][sensitivity_.units[i].name] =
          CandidateOf(sensitivity_.candidates[static_cast<size_t>(choice_.point.choice[i])]);
    }
    json["mixes"] = MixesJson(known_.mixes);
    json["uniform"] = Json::array();
    for (const Measured& uniform : uniforms_) {
      json["uniform"].push_back({{"scheme", uniform.name},
                                 {"bits_per_weight", uniform.point.bits_per_weight},
                                 {"predicted_kl", uniform.point.kl},
                                 {"measured_kl", uniform.kl}});
    }
    json["frontier"] = Json::array();
    for (size_t i = 0; i < budget_->size(); ++i) {
      const BudgetPoint point = budget_->At(i);
      json["frontier"].push_back({{"bits_per_weight", point.bits_per_weight}, {"kl", point.kl}});
    }
    return json;
  }

  std::string Markdown() const {
    std::string out = fmt::format(
        "# Sensitivity of {}\n\n{} parts on {} tokens of {}. KL divergence from the original in nats per "
        "token, rounded to nearest.\n\n"
        "| | bits per weight | KL, sum of parts | KL, measured |\n|---|---|---|---|\n",
        quantize_.model, sensitivity_.units.size(), sensitivity_.num_tokens, sensitivity_.source);
    const auto row = [&out](const std::string& name, const Measured& m) {
      out += fmt::format("| {} | {:.3f} | {:.5f} | {:.5f} |\n", name, m.point.bits_per_weight, m.point.kl, m.kl);
    };
    for (const Measured& uniform : uniforms_) row("all " + uniform.name, uniform);
    row(fmt::format("**chosen**: {}", Counts(choice_.point)), choice_);
    out += "\n## Frontier\n\n![KL divergence over bits per weight](octavo_sensitivity.svg)\n\n"
           "| bits per weight | KL, sum of parts | parts |\n|---|---|---|\n";
    const size_t step = std::max<size_t>(1, (budget_->size() + kFrontierRows - 1) / kFrontierRows);
    for (size_t i = 0; i < budget_->size(); i += step) {
      const BudgetPoint point = budget_->At(i);
      out += fmt::format("| {:.3f} | {:.5f} | {} |\n", point.bits_per_weight, point.kl, Counts(point));
    }
    out += "\n## Parts\n\n| part | weights | chosen |";
    for (const std::string& candidate : sensitivity_.candidates) out += " KL " + CandidateOf(candidate) + " |";
    out += "\n|---|---|---|" + Repeat("---|", sensitivity_.candidates.size()) + "\n";
    for (size_t i = 0; i < sensitivity_.units.size(); ++i) {
      const SensitivityUnit& unit = sensitivity_.units[i];
      out += fmt::format("| {} | {:.0f} | {} |", unit.name, unit.weights,
                         CandidateOf(sensitivity_.candidates[static_cast<size_t>(choice_.point.choice[i])]));
      for (const double kl : unit.kl) out += fmt::format(" {:.6f} |", kl);
      out += "\n";
    }
    return out;
  }

  static std::string Repeat(std::string_view text, size_t times) {
    std::string out;
    for (size_t i = 0; i < times; ++i) out += text;
    return out;
  }

  std::string Plot() const {
    std::vector<PlotCurve> curves(3);
    curves[0].label = "frontier (sum of parts)";
    const auto add = [](PlotCurve& curve, double bits, double kl, const std::string& name) {
      curve.points.push_back({bits, kl, fmt::format("{}: {:.3f} bits, KL {:.5f}", name, bits, kl)});
    };
    for (size_t i = 0; i < budget_->size(); ++i) {
      const BudgetPoint point = budget_->At(i);
      add(curves[0], point.bits_per_weight, point.kl, "frontier");
    }
    curves[1].label = "one scheme (measured)";
    for (const Measured& uniform : uniforms_) {
      add(curves[1], uniform.point.bits_per_weight, uniform.kl, uniform.name);
    }
    curves[2].label = "chosen (measured)";
    add(curves[2], choice_.point.bits_per_weight, choice_.kl, "chosen");
    return StandaloneSvg(SvgCurves(curves, "bits per weight"));
  }

  const AutoSchemeOptions& options_;
  const double max_kld_;
  QuantizeOptions& quantize_;
  ThreadPool pool_;
  std::optional<SensitivityMeter> meter_;
  std::optional<SensitivityCache> cache_;
  SensitivityMeasurements known_;
  Sensitivity sensitivity_;
  std::optional<BitBudget> budget_;
  std::vector<Measured> uniforms_;
  Measured choice_;
};

}  // namespace

void AddAutoSchemeOptions(CLI::App& app, AutoSchemeOptions& options) {
  const std::string group = "Scheme by layer (--scheme auto)";
  app.add_option("--bits-per-weight", options.bits_per_weight,
                 "Size to keep: bits per weight of the linear layers, scales included, 16 for those in "
                 "BF16. Without it --max-kld chooses the smallest mix that keeps it")
      ->check(CLI::Range(1.0, 16.0))
      ->group(group);
  app.add_option("--candidates", options.candidates, "Schemes to choose from; BF16 keeps a layer as it is")
      ->delimiter(',')
      ->capture_default_str()
      ->group(group);
  app.add_option("--sensitivity-tokens", options.tokens,
                 "Tokens of the calibration data to measure on; time grows with them")
      ->check(CLI::Range(16, 1 << 20))
      ->capture_default_str()
      ->group(group);
  app.add_option("--sensitivity", options.sensitivity,
                 "Take the measurements from an earlier run's octavo_sensitivity.json")
      ->type_name("FILE")
      ->group(group);
}

Result<AutoScheme> ChooseAutoScheme(const AutoSchemeOptions& options, double max_kld,
                                    QuantizeOptions& quantize) {
  return Chooser(options, max_kld, quantize).Run();
}

Status WriteAutoScheme(const AutoScheme& automatic, const std::string& folder) {
  const std::string stem = folder + "/" + kReportStem;
  OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(stem + ".md", automatic.markdown));
  OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(stem + ".svg", automatic.svg));
  return WriteFileAtomically(stem + ".json", DumpJson(automatic.report, 1) + "\n");
}

Status RemoveSensitivityCache(const AutoScheme& automatic) {
  std::error_code error;
  std::filesystem::remove(automatic.cache, error);
  if (!error) return Status::Ok();
  return IoError(fmt::format("{}: remove failed: {}", automatic.cache, error.message()));
}

}  // namespace octavo
