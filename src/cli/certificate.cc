// SPDX-License-Identifier: Apache-2.0
// Measures a finished checkpoint and writes its reports.
#include "cli/certificate.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/file.h"
#include "base/units.h"
#include "cli/open_tokenizer.h"
#include "cli/progress_bar.h"
#include "io/hf_config.h"

namespace octavo {

void AddCertificateOptions(CLI::App& app, CertificateOptions& options) {
  const std::string group = "Quality";
  app.add_flag("--certificate", options.wanted,
               "Measure what the quantization costs and write octavo_report.{json,md,html}")
      ->group(group);
  app.add_option("--certificate-file", options.text.file,
                 "Text to measure on (UTF-8); default: a built-in one")
      ->type_name("TEXT")
      ->group(group);
  app.add_option("--certificate-windows", options.text.max_windows,
                 "Stop after this many windows of 2048 tokens (built-in text: 512; default: all)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--max-kld", options.limits.max_kld,
                 "Write nothing and fail when the mean KL divergence exceeds this many nats; with --scheme "
                 "auto also what the choice aims at")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--max-ppl-increase", options.limits.max_perplexity_percent,
                 "Write nothing and fail when perplexity rises by more than PCT percent")
      ->check(CLI::PositiveNumber)
      ->type_name("PCT")
      ->group(group);
}

Result<Certificate> Certificate::Prepare(const CertificateOptions& options,
                                         const QuantizeOptions& quantize) {
  Certificate certificate(options, quantize);
  OCTAVO_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(quantize.model));
  OCTAVO_ASSIGN_OR_RETURN(const Json config, NormalizeConfig(checkpoint->config()));
  const auto arch = FindArch(config);
  if (!arch.ok()) return Status(arch.status()).WithContext("a certificate needs to run the model");
  OCTAVO_ASSIGN_OR_RETURN(certificate.tokenizer_, OpenTokenizer(quantize.model));
  OCTAVO_ASSIGN_OR_RETURN(certificate.text_,
                          LoadEvaluationText(options.text, *certificate.tokenizer_));
  return certificate;
}

Result<bool> Certificate::Measure(const std::string& folder, const QuantizeResult& result,
                                  Json recipe) {
  const auto start = std::chrono::steady_clock::now();
  CompareInput input;
  OCTAVO_ASSIGN_OR_RETURN(input.reference.checkpoint, Checkpoint::Open(quantize_->model));
  OCTAVO_ASSIGN_OR_RETURN(input.other.checkpoint, Checkpoint::Open(folder));
  input.tokens = text_.tokens;
  input.window = text_.window;
  input.cancel = quantize_->cancel;
  ThreadPool pool(quantize_->threads);
  ProgressBar bar({.label = "certify", .item_name = "steps"});
  OCTAVO_ASSIGN_OR_RETURN(
      const ModelComparison comparison,
      CompareModels(input, pool,
                    [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); }));
  bar.Finish();
  report_ = MakeQualityReport(input, text_, comparison, *tokenizer_);
  report_["other"]["path"] = quantize_->output;
  report_["recipe"] = std::move(recipe);
  OCTAVO_RETURN_IF_ERROR(AddFiles(folder, report_));
  report_["quantize_seconds"] = result.seconds;
  report_["seconds"] =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report_["peak_rss_bytes"] = PeakRssBytes();

  const Status limits = CheckLimits(options_.limits, report_);
  if (limits.ok()) {
    OCTAVO_RETURN_IF_ERROR(Write(folder + "/" + kReportName));
    return true;
  }
  const std::string stem = quantize_->output + ".refused";
  OCTAVO_RETURN_IF_ERROR(Write(stem));
  refusal_ = fmt::format("{}: refused, {} (report: {}.html)", quantize_->output, limits.message(), stem);
  return false;
}

Status Certificate::Write(const std::string& stem) const {
  OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(stem + ".md", RenderMarkdown(report_)));
  OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(stem + ".html", RenderHtml(report_)));
  return WriteFileAtomically(stem + ".json", DumpJson(report_, 1) + "\n");
}

}  // namespace octavo
