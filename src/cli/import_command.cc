// SPDX-License-Identifier: Apache-2.0
// `octavo import`: a GGUF file as a Hugging Face folder.
#include <memory>

#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "quantizers/expand_gguf.h"

namespace octavo {
namespace {

Status RunImport(ExpandOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(options.model, ResolveModel(options.model));
  const InterruptScope interrupt;
  options.cancel = &interrupt.flag();
  ProgressBar bar({.label = "import", .unit = ProgressBar::Unit::kBytes});
  return ExpandGguf(options, [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); });
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<ExpandOptions>();
  app.add_option("MODEL", options->model, "GGUF file or hub name ORG/NAME:FILE.gguf")->required();
  app.add_option("-o,--output", options->output, "Folder to create")->required();
  app.add_flag("--overwrite", options->overwrite, "Replace an existing checkpoint");
  return [options] { return RunImport(*options); };
}

}  // namespace

extern const Command kCommand_import_command = {
    "import", CommandGroup::kMake, "Expand a GGUF file into a bf16 Hugging Face folder", &Configure};

}  // namespace octavo
