// SPDX-License-Identifier: Apache-2.0
// The quality certificate: one JSON document (docs/certificate.md), and its readable forms.
#pragma once

#include <string>

#include "base/json.h"
#include "octavo/status.h"
#include "quality/compare_models.h"
#include "quality/evaluation_text.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

inline constexpr const char* kReportName = "octavo_report";  // .json, .md, .html

// The document without what only the caller knows: recipe, files, seconds, peak memory.
Json MakeQualityReport(const CompareInput& input, const EvaluationText& text,
                       const ModelComparison& comparison, const Tokenizer& tokenizer);

// Adds "files": name, bytes and SHA-256 of every regular file directly in `folder`, but for reports and
// the mark of an unfinished output.
Status AddFiles(const std::string& folder, Json& report);

// Whether the report keeps the limits; a value that is not finite keeps none. 0 or less: no limit.
struct QualityLimits {
  double max_kld = 0;               // mean KL divergence in nats
  double max_perplexity_percent = 0;  // increase against the reference
  bool any() const { return max_kld > 0 || max_perplexity_percent > 0; }
};
// FailedPrecondition naming each figure beyond its limit.
Status CheckLimits(const QualityLimits& limits, const Json& report);

// A few lines for the terminal.
std::string RenderSummary(const Json& report);
std::string RenderMarkdown(const Json& report);
// One self-contained page: inline styles and SVG, no scripts, light and dark.
std::string RenderHtml(const Json& report);

}  // namespace octavo
