// SPDX-License-Identifier: Apache-2.0
// Rounds and shortens for people.
#include "quality/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/units.h"
#include "quality/quality_report.h"

namespace octavo {
namespace {

std::string Bits(const Json& model) {
  const Json& bits = model["bits_per_weight"];
  return bits.is_null() ? "-" : fmt::format("{:.2f}", bits.get<double>());
}

}  // namespace

std::string FormatEstimate(const Json& estimate, double factor, std::string_view unit) {
  if (estimate["value"].is_null()) return "unknown";
  const double value = estimate["value"].get<double>() * factor;
  const double error =
      estimate["standard_error"].is_null() ? 0 : estimate["standard_error"].get<double>() * factor;
  if (error <= 0) return fmt::format("{:.4g}{}", value, unit);
  const int digits = std::clamp(1 - static_cast<int>(std::floor(std::log10(error))), 0, 9);
  return fmt::format("{:.{}f} ± {:.{}f}{}", value, digits, error, digits, unit);
}

std::string FormatNumber(const Json& number) {
  return number.is_number() ? fmt::format("{:.4g}", number.get<double>()) : "-";
}

std::string ModelName(const Json& model) {
  std::string path = model["path"].get<std::string>();
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::string name = std::filesystem::path(path).filename().string();
  const Json& online = model["quantization"];
  return online.is_null() ? name : fmt::format("{} ({})", name, online.get<std::string>());
}

std::vector<std::pair<std::string, std::string>> Headline(const Json& report) {
  const Json& divergence = report["divergence"];
  const Json& perplexity = report["perplexity"];
  const Json& a = report["reference"];
  const Json& b = report["other"];
  return {
      {"KL divergence, mean", FormatEstimate(divergence["mean_kl"], 1, " nats")},
      {"KL divergence, median", FormatEstimate(divergence["median_kl"])},
      {"KL divergence, 99 %", FormatEstimate(divergence["p99_kl"])},
      {"KL divergence, largest", FormatNumber(divergence["max_kl"])},
      {"Same most likely token", FormatEstimate(divergence["top1_agreement"], 100, " %")},
      {"Perplexity of the original", FormatEstimate(perplexity["reference"])},
      {"Perplexity", FormatEstimate(perplexity["other"])},
      {"Perplexity change", FormatEstimate(perplexity["delta"])},
      {"Perplexity increase", FormatEstimate(perplexity["increase_percent"], 1, " %")},
      {"Bits per weight", fmt::format("{} -> {}", Bits(a), Bits(b))},
      {"Size", fmt::format("{} -> {}", FormatBytes(a["bytes"].get<uint64_t>()),
                           FormatBytes(b["bytes"].get<uint64_t>()))},
  };
}

std::string TransformedNote(const Json& report) {
  const Json& linears = report["linears"];
  const auto count = std::count_if(linears.begin(), linears.end(), [](const Json& linear) {
    return linear["transformed"].get<bool>();
  });
  if (count == 0) return "";
  return fmt::format(
      "{} of {} linear layers have no weight and output error: calibration moved scale (or places, or a "
      "rotation) between them and their neighbours, so their matrices are not the original's, rounded, "
      "though the model is. The errors of whole layers, KL divergence and perplexity hold for them.",
      count, linears.size());
}

std::string OneLineTail(std::string_view text, size_t max_bytes) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::replace(line.begin(), line.end(), '\r', ' ');
  std::replace(line.begin(), line.end(), '\t', ' ');
  if (line.size() <= max_bytes) return line;
  size_t begin = line.size() - max_bytes;
  while (begin < line.size() && (static_cast<unsigned char>(line[begin]) & 0xC0) == 0x80) ++begin;
  return "…" + line.substr(begin);
}

std::string VisibleToken(std::string_view token) {
  std::string out;
  for (const char c : token) {
    if (c == '\n') {
      out += "⏎";
    } else if (c == '\t') {
      out += "⇥";
    } else if (c != '\r') {
      out += c;
    }
  }
  return out;
}

std::string RenderSummary(const Json& report) {
  std::string out;
  for (const auto& [label, value] : Headline(report)) {
    out += fmt::format("{:<28}{}\n", label, value);
  }
  const int64_t bad = report["divergence"]["non_finite"].get<int64_t>();
  if (bad > 0) out += fmt::format("{:<28}{}\n", "Positions not finite", bad);
  return out;
}

}  // namespace octavo
