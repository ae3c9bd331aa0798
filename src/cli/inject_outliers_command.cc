// SPDX-License-Identifier: Apache-2.0
// `octavo inject-outliers`: a copy of a model with outlier features, to study quantization with.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "quantizers/inject_outliers.h"

namespace octavo {
namespace {

struct InjectCommandOptions {
  InjectOptions inject;
  std::string json;
};

Status RunInject(InjectCommandOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(options.inject.model, ResolveModel(options.inject.model));
  const InterruptScope interrupt;
  options.inject.cancel = &interrupt.flag();
  const Result<InjectResult> result = [&options] {
    ProgressBar bar({.label = "inject-outliers", .unit = ProgressBar::Unit::kBytes});
    return InjectOutliers(options.inject,
                          [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); });
  }();
  if (!result.ok()) return result.status();
  if (!JsonOnStdout(options.json)) {
    fmt::print("{}: dimensions {} are {:g} times larger after {} norms, and as much smaller in {} linear "
               "layers\n",
               options.inject.output, fmt::join(result->dimensions, ", "), options.inject.factor,
               result->norms, result->linears);
  }
  return WriteJsonReport(options.json, {{"model", options.inject.model},
                                        {"output", options.inject.output},
                                        {"factor", options.inject.factor},
                                        {"dimensions", result->dimensions},
                                        {"norms", result->norms},
                                        {"linears", result->linears}});
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<InjectCommandOptions>();
  InjectOptions& inject = options->inject;
  app.add_option("MODEL", inject.model, "16- or 32-bit Hugging Face folder or hub name ORG/NAME")->required();
  app.add_option("-o,--output", inject.output, "Folder to create")->required();
  app.add_option("--dims", inject.dims, "How many dimensions of the hidden state become outliers")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--factor", inject.factor, "How much they grow; a power of two keeps every bit of the logits")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", inject.seed, "Chooses the dimensions")->capture_default_str();
  app.add_flag("--overwrite", inject.overwrite, "Replace an existing checkpoint");
  AddJsonOption(app, options->json);
  return [options] { return RunInject(*options); };
}

}  // namespace

extern const Command kCommand_inject_outliers_command = {
    "inject-outliers", CommandGroup::kDevelop,
    "Copy a model with outlier features added, its function unchanged", &Configure};

}  // namespace octavo
