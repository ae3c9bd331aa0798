// SPDX-License-Identifier: Apache-2.0
// The quality certificate of `octavo quantize`: measured before the checkpoint appears.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <memory>
#include <string>

#include "quality/quality_report.h"
#include "quantizers/quantize_checkpoint.h"

namespace octavo {

struct CertificateOptions {
  bool wanted = false;
  EvaluationTextOptions text;
  QualityLimits limits;
  std::string scratch;

  bool active() const { return wanted || limits.any(); }
};

// Adds --certificate, --certificate-file, --certificate-windows, --max-kld and --max-ppl-increase.
void AddCertificateOptions(CLI::App& app, CertificateOptions& options);

// One run's certificate.
class Certificate {
 public:
  // Reads everything that can be wrong before the work starts: the text, the tokenizer, whether the
  // model's architecture can run.
  // `quantize` must outlive the certificate.
  static Result<Certificate> Prepare(const CertificateOptions& options, const QuantizeOptions& quantize);

  // Compares the checkpoint in `folder` with the original and writes the reports: into `folder`, or,
  // when a limit is broken, beside the output as OUTPUT.refused.{json,md,html}. False: refused.
  Result<bool> Measure(const std::string& folder, const QuantizeResult& result, Json recipe);

  // After Measure().
  const Json& report() const { return report_; }
  // Which limits are broken, and where the report is; empty unless refused.
  const std::string& refusal() const { return refusal_; }

 private:
  Certificate(const CertificateOptions& options, const QuantizeOptions& quantize)
      : options_(options), quantize_(&quantize) {}

  Status Write(const std::string& stem) const;

  CertificateOptions options_;
  const QuantizeOptions* quantize_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  EvaluationText text_;
  Json report_;
  std::string refusal_;
};

}  // namespace octavo
