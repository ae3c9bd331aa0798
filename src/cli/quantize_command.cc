// SPDX-License-Identifier: Apache-2.0
// `octavo quantize`: writes a quantized checkpoint that other engines load unchanged.
#include "quantizers/quantize_checkpoint.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cli/auto_scheme.h"
#include "cli/calibration_options.h"
#include "cli/certificate.h"
#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/interrupt.h"
#include "cli/open_tokenizer.h"
#include "cli/progress_bar.h"
#include "cli/quantize_dry_run.h"
#include "cli/report.h"
#include "quality/outliers.h"
#include "quantizers/recipe_file.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

struct QuantizeCommandOptions {
  QuantizeOptions quantize;
  AutoSchemeOptions automatic;
  std::string recipe;  // file
  CalibrationCommandOptions calibration;
  CertificateOptions certificate;
  bool dry_run = false;
  bool keep_outlier_columns = false;
  std::string json;
};

Json SharesOf(const QuantizeResult& result) {
  Json shares = Json::array();
  for (const SchemeShare& share : result.shares) shares.push_back(ToJson(share));
  return shares;
}

// What made the checkpoint, for its certificate.
Json CertifiedRecipe(const QuantizeOptions& options, const QuantizeResult& result) {
  Json recipe = {{"scheme", result.scheme},
                 {"stored_as", result.stored_as},
                 {"algorithm", result.algorithm},
                 {"group_size", result.group_size == 0 ? Json() : Json(result.group_size)},
                 {"shares", SharesOf(result)},
                 {"quantized_modules", result.quantized_modules},
                 {"ignored", result.ignored}};
  if (options.recipe != nullptr) recipe["recipe"] = options.recipe->source;
  if (result.calibration) {
    recipe["calibration"] = {{"source", result.calibration->source},
                             {"num_samples", result.calibration->num_samples},
                             {"num_tokens", result.calibration->num_tokens}};
  }
  return recipe;
}

Json ToJson(const QuantizeCommandOptions& options, const QuantizeResult& result) {
  return {{"model", options.quantize.model},
          {"output", options.quantize.output},
          {"scheme", result.scheme},
          {"stored_as", result.stored_as},
          {"algorithm", result.algorithm},
          {"group_size", result.group_size == 0 ? Json() : Json(result.group_size)},
          {"shares", SharesOf(result)},
          {"quantized_modules", result.quantized_modules},
          {"ignored", result.ignored},
          {"warnings", result.warnings},
          {"input_bytes", result.input_bytes},
          {"output_bytes", result.output_bytes},
          {"resumed_bytes", result.resumed_bytes},
          {"bits_per_weight", result.bits_per_weight},
          {"seconds", result.seconds},
          {"calibration", result.calibration ? ToJson(*result.calibration) : Json()},
          {"peak_rss_bytes", PeakRssBytes()}};
}

// Modules that were not quantized as asked for.
void PrintNotes(const QuantizeResult& result) {
  if (!result.calibration) return;
  for (const LayerReport& layer : result.calibration->layers) {
    for (const ModuleReport& module : layer.modules) {
      if (!module.note.empty()) fmt::print(stderr, "note: {}: {}\n", module.module, module.note);
    }
  }
}

void PrintSummary(const QuantizeCommandOptions& options, const QuantizeResult& result) {
  for (const SchemeShare& share : result.shares) {
    if (share.group_size == share.wanted_group_size) continue;
    fmt::print(stderr, "{}: group size {} instead of {}: it divides the columns of every layer\n",
               share.scheme, share.group_size, share.wanted_group_size);
  }
  PrintNotes(result);
  for (const std::string& warning : result.warnings) fmt::print(stderr, "warning: {}\n", warning);
  if (JsonOnStdout(options.json)) return;
  fmt::print("{}: {} linear layers in {}{}, {:.2f} bits per weight, {} -> {}, {}\n",
             options.quantize.output, result.quantized_modules, DescribeSchemes(result),
             result.stored_as == result.scheme ? "" : " stored as " + result.stored_as,
             result.bits_per_weight, FormatBytes(result.input_bytes),
             FormatBytes(result.output_bytes), FormatDuration(result.seconds));
}

// What is measured before and after quantizing.
struct Measurements {
  std::optional<AutoScheme> automatic;
  std::optional<Certificate> certificate;
};

// The reports are written, and the certificate measured, as the checkpoint's approval.
void AttachMeasurements(QuantizeCommandOptions& options, Measurements& measurements) {
  if (!measurements.automatic && !measurements.certificate) return;
  options.quantize.approve = [&](const std::string& folder,
                                 const QuantizeResult& result) -> Result<bool> {
    if (measurements.automatic) {
      OCTAVO_RETURN_IF_ERROR(WriteAutoScheme(*measurements.automatic, folder));
    }
    if (!measurements.certificate) return true;
    return measurements.certificate->Measure(folder, result, CertifiedRecipe(options.quantize, result));
  };
}

// Says where schemes come from: one of --scheme, --recipe and a bit budget.
Status ReadRecipe(QuantizeCommandOptions& options) {
  std::string& scheme = options.quantize.scheme;
  const bool budget = options.automatic.bits_per_weight > 0;
  if (budget && scheme.empty() && options.recipe.empty()) scheme = kAutoScheme;
  if (options.recipe.empty() == scheme.empty()) return UsageError("want one of --scheme and --recipe");
  if (budget && scheme != kAutoScheme) {
    return UsageError("--bits-per-weight chooses schemes itself: want --scheme auto");
  }
  if (options.recipe.empty()) return Status::Ok();
  OCTAVO_ASSIGN_OR_RETURN(QuantizeRecipe recipe, LoadRecipe(options.recipe));
  options.quantize.recipe = std::make_shared<const QuantizeRecipe>(std::move(recipe));
  return Status::Ok();
}

// A recipe says itself what these options would.
void AddRecipeOption(CLI::App& app, QuantizeCommandOptions& options) {
  CLI::Option* recipe =
      app.add_option("--recipe", options.recipe,
                     "YAML file with scheme and algorithm by module (docs/quantization.md), instead of "
                     "--scheme and the options that refine it")
          ->type_name("FILE");
  for (const char* name : {"--scheme", "--algorithm", "--group-size", "--as", "--ignore",
                           "--smoothing-strength", "--dampening-frac", "--no-actorder"}) {
    recipe->excludes(app.get_option(name));
  }
}

Result<QuantizeResult> QuantizeWithBar(QuantizeOptions& options) {
  ProgressBar rotate({.label = "rotate", .unit = ProgressBar::Unit::kBytes});
  options.rotate_progress = [&rotate](uint64_t done, uint64_t total) {
    rotate.Update(done, total);
    if (done == total) rotate.Finish();
  };
  ProgressBar bar({.label = "quantize",
                   .unit = NeedsCalibration(options) ? ProgressBar::Unit::kItems
                                                     : ProgressBar::Unit::kBytes,
                   .item_name = "GFLOP"});
  return QuantizeCheckpoint(
      options, [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); });
}

Status ReportResult(const QuantizeCommandOptions& options, const QuantizeResult& result,
                    const Measurements& measurements) {
  if (measurements.automatic) {
    OCTAVO_RETURN_IF_ERROR(RemoveSensitivityCache(*measurements.automatic));
  }
  PrintSummary(options, result);
  Json json = ToJson(options, result);
  if (measurements.automatic) json["choice"] = measurements.automatic->report["choice"];
  if (measurements.certificate) {
    const Json& report = measurements.certificate->report();
    if (!JsonOnStdout(options.json)) {
      OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(RenderSummary(report)));
    }
    json["quality"] = {{"divergence", report["divergence"]}, {"perplexity", report["perplexity"]}};
  }
  return WriteJsonReport(options.json, json);
}

// The built-in text shows which columns of which module outliers meet again and again.
Status FindKeptColumns(QuantizeOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(options.model));
  OCTAVO_ASSIGN_OR_RETURN(const EvaluationText text, LoadEvaluationText({}, *tokenizer));
  OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(options.model));
  ThreadPool pool(options.threads);
  ProgressBar bar({.label = "outliers", .item_name = "steps"});
  OCTAVO_ASSIGN_OR_RETURN(
      OutlierStudy study,
      FindOutliers(std::move(checkpoint), {}, text, pool, options.cancel,
                   [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); }));
  for (auto& [module, columns] : study.module_columns) options.kept_columns[module] = std::move(columns);
  return Status::Ok();
}

Status RunQuantize(QuantizeCommandOptions& options) {
  if (!options.dry_run && options.quantize.output.empty()) {
    return UsageError("--output is required without --dry-run");
  }
  OCTAVO_RETURN_IF_ERROR(ReadRecipe(options));
  OCTAVO_ASSIGN_OR_RETURN(options.quantize.model, ResolveModel(options.quantize.model));
  const InterruptScope interrupt;
  options.quantize.cancel = &interrupt.flag();
  if (!options.dry_run && options.keep_outlier_columns) {
    OCTAVO_RETURN_IF_ERROR(FindKeptColumns(options.quantize));
  }
  Measurements measurements;
  if (!options.dry_run && options.certificate.active()) {  // what is wrong with it shows at once
    OCTAVO_ASSIGN_OR_RETURN(measurements.certificate,
                            Certificate::Prepare(options.certificate, options.quantize));
  }
  const bool automatic = options.quantize.scheme == kAutoScheme;
  if (automatic || (!options.dry_run && NeedsCalibration(options.quantize))) {
    OCTAVO_RETURN_IF_ERROR(LoadCalibration(options.calibration, options.quantize));
  }
  if (automatic) {
    OCTAVO_ASSIGN_OR_RETURN(measurements.automatic,
                            ChooseAutoScheme(options.automatic, options.certificate.limits.max_kld,
                                             options.quantize));
  }
  if (options.dry_run) return DryRunQuantize(options.quantize, options.json);
  AttachMeasurements(options, measurements);
  const Result<QuantizeResult> result = QuantizeWithBar(options.quantize);
  if (result.ok()) return ReportResult(options, *result, measurements);
  if (result.status().code() == StatusCode::kCancelled) {
    fmt::print(stderr, "{}.partial is kept: the same command with --resume continues\n",
               options.quantize.output);
  }
  if (measurements.certificate && !measurements.certificate->refusal().empty()) {
    return FailedPrecondition(measurements.certificate->refusal());
  }
  return result.status();
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<QuantizeCommandOptions>();
  QuantizeOptions& quantize = options->quantize;
  app.add_option("MODEL", quantize.model, "Hugging Face folder, GGUF file or hub name ORG/NAME")->required();
  app.add_option("--scheme", quantize.scheme,
                 "One of " + WritableSchemeNames() + "; auto: one for each layer, by --bits-per-weight or --max-kld");
  app.add_option("-o,--output", quantize.output, "Folder to create");
  app.add_flag("--dry-run", options->dry_run,
               "Print size, memory and time of the result, and the size in other schemes; write nothing");
  AddCalibrationOptions(app, options->calibration, quantize);
  app.add_option("--group-size", quantize.group_size,
                 "Columns per group; default: the scheme's own, or the largest of 128, 64 and 32 that "
                 "divides every layer")
      ->check(CLI::PositiveNumber);
  app.add_flag("--strict", quantize.strict, "Fail when the group size does not divide every layer");
  app.add_option("--as", quantize.as, "Store QOQ_G128 or QOQ in its exact W8A8 form, for other engines")
      ->check(CLI::IsMember({"W8A8"}));
  app.add_option("--ignore", quantize.ignore,
                 "Regular expressions, matched at the start of module names, of layers that stay dense");
  app.add_option("--llm-int8-threshold", quantize.outlier_threshold,
                 "LLM_INT8: activations from here on are multiplied in 16 bit; 0: none (default: 6)")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--keep-outlier-columns", options->keep_outlier_columns,
               "LLM_INT8: also store in 16 bit the columns that outliers meet in a built-in text");
  AddRecipeOption(app, *options);
  app.add_flag("--resume", quantize.resume, "Continue an interrupted run of the same command");
  app.add_flag("--overwrite", quantize.overwrite, "Replace an existing checkpoint");
  app.add_option("-t,--threads", quantize.threads, "Threads; default: one per CPU")
      ->check(CLI::Range(1, 1024));
  AddAutoSchemeOptions(app, options->automatic);
  AddCertificateOptions(app, options->certificate);
  AddJsonOption(app, options->json);
  return [options] { return RunQuantize(*options); };
}

}  // namespace

extern const Command kCommand_quantize_command = {
    "quantize", CommandGroup::kMake, "Quantize a model, without data or calibrated", &Configure};

}  // namespace octavo
