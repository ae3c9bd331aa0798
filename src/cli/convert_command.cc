// SPDX-License-Identifier: Apache-2.0
// `octavo convert`: a quantized checkpoint in another form, value for value; a 16-bit one as GGUF.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "quantizers/convert_checkpoint.h"

namespace octavo {
namespace {

struct ConvertCommandOptions {
  ConvertOptions convert;
  std::string json;
};

Status RunConvert(ConvertCommandOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(options.convert.model, ResolveModel(options.convert.model));
  const InterruptScope interrupt;
  options.convert.cancel = &interrupt.flag();
  Result<ConvertResult> result = [&options] {
    ProgressBar bar({.label = "convert", .unit = ProgressBar::Unit::kBytes});
    return ConvertCheckpoint(options.convert, [&bar](uint64_t done, uint64_t total) {
      bar.Update(done, total);
    });
  }();
  if (!result.ok()) return std::move(result).status();
  if (!JsonOnStdout(options.json)) {
    fmt::print("{}: {} matrices moved unchanged, {} rounded, {} tensors copied; {}, {}\n",
               options.convert.output, result->moved, result->rounded, result->copied,
               FormatBytes(result->output_bytes), FormatDuration(result->seconds));
  }
  return WriteJsonReport(options.json, {{"model", options.convert.model},
                                        {"output", options.convert.output},
                                        {"to", options.convert.to},
                                        {"moved", result->moved},
                                        {"rounded", result->rounded},
                                        {"copied", result->copied},
                                        {"output_bytes", result->output_bytes},
                                        {"seconds", result->seconds},
                                        {"peak_rss_bytes", PeakRssBytes()}});
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<ConvertCommandOptions>();
  ConvertOptions& convert = options->convert;
  app.add_option("MODEL", convert.model, "Hugging Face folder or hub name: quantized, or 16-bit for gguf")
      ->required();
  app.add_option("--to", convert.to, "One of " + ConvertTargets())->required()->type_name("FORM");
  app.add_option("-o,--output", convert.output, "Folder to create, or the .gguf file")->required();
  app.add_flag("--overwrite", convert.overwrite, "Replace an existing output");
  app.add_option("-t,--threads", convert.threads, "Threads; default: one per CPU")
      ->check(CLI::Range(1, 1024));
  AddJsonOption(app, options->json);
  return [options] { return RunConvert(*options); };
}

}  // namespace

extern const Command kCommand_convert_command = {
    "convert", CommandGroup::kMake, "Store a checkpoint in another form, without loss", &Configure};

}  // namespace octavo
