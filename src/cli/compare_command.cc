// SPDX-License-Identifier: Apache-2.0
// `octavo compare`: how far one model is from another.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/open_tokenizer.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "cli/text_options.h"
#include "quality/quality_report.h"

namespace octavo {
namespace {

struct CompareOptions {
  std::string reference;
  std::string other;
  EvaluationTextOptions text;
  std::string dtype = "bfloat16";
  std::string quantization;
  std::string lm_head_dtype;
  std::string gguf_activations = "int8";
  std::string kv_cache_dtype = "auto";
  std::string scratch;
  bool no_weights = false;
  int threads = 0;
  std::string json;
  std::string html;
  std::string markdown;
};

Result<CompareInput> MakeInput(const CompareOptions& options, const EvaluationText& text) {
  CompareInput input;
  OCTAVO_ASSIGN_OR_RETURN(const std::string reference, ResolveModel(options.reference));
  OCTAVO_ASSIGN_OR_RETURN(const std::string other, ResolveModel(options.other));
  OCTAVO_ASSIGN_OR_RETURN(input.reference.checkpoint, Checkpoint::Open(reference));
  OCTAVO_ASSIGN_OR_RETURN(input.other.checkpoint, Checkpoint::Open(other));
  const bool f32 = options.dtype == "float32";
  input.reference.load.dtype = f32 ? ComputeDType::kFloat32 : ComputeDType::kBfloat16;
  input.reference.load.gguf_activations = "16bit";  // the original's own values
  input.other.load = input.reference.load;
  input.other.load.gguf_activations = options.gguf_activations;
  input.other.load.quantization = options.quantization;
  input.other.load.lm_head_dtype = options.lm_head_dtype;
  input.reference.kv_dtype = ChooseKvDType("auto", options.dtype);
  input.other.kv_dtype = ChooseKvDType(options.kv_cache_dtype, options.dtype);
  input.tokens = text.tokens;
  input.window = text.window;
  input.weights = !options.no_weights;
  input.scratch_folder = options.scratch;
  return input;
}

Status WriteReports(const CompareOptions& options, const Json& report) {
  if (!JsonOnStdout(options.json)) {
    OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(RenderSummary(report)));
  }
  if (!options.html.empty()) {
    OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(options.html, RenderHtml(report)));
  }
  if (!options.markdown.empty()) {
    OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(options.markdown, RenderMarkdown(report)));
  }
  return WriteJsonReport(options.json, report);
}

Status RunCompare(const CompareOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(options.reference));
  OCTAVO_ASSIGN_OR_RETURN(const auto other_tokenizer, OpenTokenizer(options.other));
  OCTAVO_ASSIGN_OR_RETURN(const EvaluationText text, LoadEvaluationText(options.text, *tokenizer));
  OCTAVO_RETURN_IF_ERROR(CheckSameTokens(*tokenizer, *other_tokenizer, options.text, text));
  OCTAVO_ASSIGN_OR_RETURN(CompareInput input, MakeInput(options, text));
  const InterruptScope interrupt;
  input.cancel = &interrupt.flag();
  ThreadPool pool(options.threads);
  const Result<ModelComparison> comparison = [&] {
    ProgressBar bar({.label = "compare", .item_name = "steps"});
    return CompareModels(input, pool,
                         [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); });
  }();
  if (!comparison.ok()) return comparison.status();
  Json report = MakeQualityReport(input, text, *comparison, *tokenizer);
  report["other"]["kv_cache_dtype"] = options.kv_cache_dtype;
  report["seconds"] =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report["peak_rss_bytes"] = PeakRssBytes();
  return WriteReports(options, report);
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<CompareOptions>();
  app.add_option("A", options->reference, "The original: Hugging Face folder, GGUF file or hub name")->required();
  app.add_option("B", options->other, "The model to judge, with the same vocabulary")->required();
  AddTextOptions(app, options->text);
  app.add_option("--dtype", options->dtype, "Type of unquantized arithmetic")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--quantization", options->quantization,
                 "Quantize B while loading: fp8, int8, w4a16, qoq_g128, ...")
      ->type_name("SCHEME");
  app.add_option("--lm-head-dtype", options->lm_head_dtype, "Type of B's output projection")
      ->check(CLI::IsMember({"bf16", "int8", "int4"}));
  AddGgufActivationsOption(app, options->gguf_activations);
  AddKvDTypeOption(app, options->kv_cache_dtype);
  app.add_flag("--no-weights", options->no_weights, "Leave out the comparison of weights");
  app.add_option("--scratch", options->scratch,
                 "Folder for temporary data: 4 bytes per token and hidden channel for each model "
                 "(default: $TMPDIR, else /var/tmp)")
      ->type_name("FOLDER");
  app.add_option("-t,--threads", options->threads, "Compute threads (default: one per CPU)")
      ->check(CLI::Range(1, 4096));
  AddJsonOption(app, options->json);
  app.add_option("--html", options->html, "Write a self-contained page with plots")->type_name("FILE");
  app.add_option("--md", options->markdown, "Write the report as Markdown")->type_name("FILE");
  return [options] { return RunCompare(*options); };
}

}  // namespace

extern const Command kCommand_compare_command = {
    "compare", CommandGroup::kMeasure, "Measure how far one model's predictions are from another's",
    &Configure};

}  // namespace octavo
