// SPDX-License-Identifier: Apache-2.0
// Prints an estimate.
#include "cli/quantize_dry_run.h"

#include <fmt/format.h>

#include "cli/report.h"
#include "quantizers/quantize_estimate.h"

namespace octavo {
namespace {

std::string SizeRow(const SchemeSize& size, const QuantizeOptions& options, uint64_t input_bytes) {
  const std::string mark = !options.recipe && size.scheme == options.scheme ? "*" : " ";
  if (!size.error.empty()) return fmt::format("{} {:<14} {}\n", mark, size.scheme, size.error);
  return fmt::format("{} {:<14} {:>6.2f} bits per weight {:>12} {:>5.0f} %{}\n", mark, size.scheme,
                     size.bits_per_weight, FormatBytes(size.output_bytes),
                     100.0 * static_cast<double>(size.output_bytes) / static_cast<double>(input_bytes),
                     size.group_size == 0 ? "" : fmt::format("  groups of {}", size.group_size));
}

}  // namespace

std::string DescribeSchemes(const QuantizeResult& result) {
  if (result.scheme != "mixed") return result.scheme;
  std::string text;
  for (const SchemeShare& share : result.shares) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", share.scheme, share.modules.size());
  }
  return text;
}

Status DryRunQuantize(const QuantizeOptions& options, const std::string& json) {
  OCTAVO_ASSIGN_OR_RETURN(const QuantizeEstimate estimate, EstimateQuantize(options));
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<SchemeSize> sizes, SizesOfAllSchemes(options));
  const QuantizeResult& result = estimate.summary;
  const bool calibrated = NeedsCalibration(options);
  if (!JsonOnStdout(json)) {
    std::string out = fmt::format(
        "{} linear layers in {}, {:.2f} bits per weight, {} -> {}\n"
        "{}computing {}, writing {}; peak memory {}{}\n\n",
        result.quantized_modules, DescribeSchemes(result), result.bits_per_weight,
        FormatBytes(result.input_bytes), FormatBytes(result.output_bytes),
        calibrated ? "rounding: " : "", estimate.seconds < 1 ? "under 1 s" : "about " + FormatDuration(estimate.seconds),
        FormatBytes(result.output_bytes), FormatBytes(estimate.peak_memory_bytes),
        calibrated ? "; calibration comes on top" : "");
    if (result.shares.size() > 1) {
      for (const SchemeShare& share : result.shares) {
        out += fmt::format("* {:<14} {:>6.2f} bits per weight, {} layers by {}\n", share.scheme,
                           share.bits_per_weight, share.modules.size(), share.algorithm);
      }
      out += "\nAll layers in one scheme:\n";
    }
    for (const std::string& warning : result.warnings) out += fmt::format("warning: {}\n", warning);
    for (const SchemeSize& size : sizes) out += SizeRow(size, options, result.input_bytes);
    OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(out));
  }
  Json schemes = Json::array();
  for (const SchemeSize& size : sizes) {
    schemes.push_back({{"scheme", size.scheme},
                       {"bits_per_weight", size.error.empty() ? Json(size.bits_per_weight) : Json()},
                       {"output_bytes", size.error.empty() ? Json(size.output_bytes) : Json()},
                       {"error", size.error.empty() ? Json() : Json(size.error)}});
  }
  Json shares = Json::array();
  for (const SchemeShare& share : result.shares) shares.push_back(ToJson(share));
  return WriteJsonReport(json, {{"model", options.model},
                                {"scheme", result.scheme},
                                {"quantized_modules", result.quantized_modules},
                                {"input_bytes", result.input_bytes},
                                {"output_bytes", result.output_bytes},
                                {"bits_per_weight", result.bits_per_weight},
                                {"peak_memory_bytes", estimate.peak_memory_bytes},
                                {"seconds", estimate.seconds},
                                {"shares", shares},
                                {"schemes", schemes}});
}

}  // namespace octavo
