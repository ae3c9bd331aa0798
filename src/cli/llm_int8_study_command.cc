// SPDX-License-Identifier: Apache-2.0
// `octavo llm-int8-study`: the table of LLM.int8() for any model.
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
#include "quality/llm_int8_study.h"

namespace octavo {
namespace {

struct StudyOptions {
  std::string model;
  EvaluationTextOptions text;
  int threads = 0;
  std::string json;
};

Status RunStudy(const StudyOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.model));
  OCTAVO_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(path));
  OCTAVO_ASSIGN_OR_RETURN(const EvaluationText text, LoadEvaluationText(options.text, *tokenizer));
  OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(path));
  const InterruptScope interrupt;
  ThreadPool pool(options.threads);
  const auto rows = [&] {
    ProgressBar bar({.label = "llm-int8-study", .item_name = "steps"});
    return RunInt8Study(std::move(checkpoint), text, pool, &interrupt.flag(),
                        [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); });
  }();
  if (!rows.ok()) return rows.status();
  if (!JsonOnStdout(options.json)) OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(Int8StudyTable(*rows)));
  return WriteJsonReport(options.json, {{"model", options.model},
                                        {"text", {{"name", text.name}, {"sha256", text.sha256}}},
                                        {"window", text.window},
                                        {"windows", text.windows()},
                                        {"variants", Int8StudyJson(*rows)}});
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<StudyOptions>();
  app.add_option("MODEL", options->model, "16-bit Hugging Face folder, GGUF file or hub name ORG/NAME")
      ->required();
  AddTextOptions(app, options->text);
  app.add_option("-t,--threads", options->threads, "Compute threads (default: one per CPU)")
      ->check(CLI::Range(1, 4096));
  AddJsonOption(app, options->json);
  return [options] { return RunStudy(*options); };
}

}  // namespace

extern const Command kCommand_llm_int8_study_command = {
    "llm-int8-study", CommandGroup::kMeasure,
    "Compare int8 quantizers with and without outlier decomposition", &Configure};

}  // namespace octavo
