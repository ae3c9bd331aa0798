// SPDX-License-Identifier: Apache-2.0
// `octavo outliers`: which feature dimensions make a model's activations hard to quantize.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/interrupt.h"
#include "cli/open_tokenizer.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "cli/text_options.h"
#include "quality/outlier_ablation.h"
#include "quality/outliers.h"

namespace octavo {
namespace {

struct OutliersOptions {
  std::string model;
  EvaluationTextOptions text;
  size_t top = 20;
  bool zero = false;
  uint64_t seed = 1;
  int threads = 0;
  std::string json;
  std::string html;
};

Status RunOutliers(const OutliersOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.model));
  OCTAVO_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(path));
  OCTAVO_ASSIGN_OR_RETURN(const EvaluationText text, LoadEvaluationText(options.text, *tokenizer));
  OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint,
                          Checkpoint::Open(path));
  const InterruptScope interrupt;
  ThreadPool pool(options.threads);
  const Result<OutlierStudy> study = [&] {
    ProgressBar bar({.label = "outliers", .item_name = "steps"});
    return FindOutliers(checkpoint, {}, text, pool, &interrupt.flag(),
                        [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); });
  }();
  if (!study.ok()) return study.status();
  OutlierAblation ablation;
  if (options.zero) {
    ProgressBar bar({.label = "zeroed", .item_name = "steps"});
    OCTAVO_ASSIGN_OR_RETURN(ablation, ZeroOutliers(checkpoint, *study, text, options.seed, pool,
                                                   &interrupt.flag(), [&bar](uint64_t done, uint64_t total) {
                                                     bar.Update(done, total);
                                                   }));
  }
  if (!JsonOnStdout(options.json)) {
    OCTAVO_RETURN_IF_ERROR(
        WriteStandardOutput(OutliersTable(*study, options.top) + AblationTable(ablation)));
  }
  if (!options.html.empty()) {
    OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(
        options.html, OutliersHtml(options.model, *study, AblationHtml(ablation))));
  }
  Json json = OutliersJson(*study);
  if (options.zero) json["zeroed"] = AblationJson(ablation);
  json["model"] = options.model;
  json["text"] = {{"name", text.name}, {"sha256", text.sha256}};
  return WriteJsonReport(options.json, json);
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<OutliersOptions>();
  app.add_option("MODEL", options->model, "Hugging Face folder, GGUF file or hub name ORG/NAME")->required();
  AddTextOptions(app, options->text);
  app.add_option("--top", options->top, "Rows of the table")->capture_default_str();
  app.add_flag("--zero", options->zero,
               "Also measure perplexity with up to 7 outlier dimensions zeroed, and with random ones");
  app.add_option("--seed", options->seed, "Chooses the random dimensions")->capture_default_str();
  app.add_option("-t,--threads", options->threads, "Compute threads (default: one per CPU)")
      ->check(CLI::Range(1, 4096));
  AddJsonOption(app, options->json);
  app.add_option("--html", options->html, "Write a self-contained page with a plot")->type_name("FILE");
  return [options] { return RunOutliers(*options); };
}

}  // namespace

extern const Command kCommand_outliers_command = {
    "outliers", CommandGroup::kMeasure, "Find feature dimensions with outlying activations", &Configure};

}  // namespace octavo
