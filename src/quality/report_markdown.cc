// SPDX-License-Identifier: Apache-2.0
// The report as Markdown: the figures, without plots.
#include <fmt/format.h>

#include <string>

#include "base/units.h"
#include "quality/quality_report.h"
#include "quality/report_text.h"

namespace octavo {
namespace {

// In a table cell, as code: `|` and line ends would break the row.
std::string Cell(std::string_view text, size_t max_bytes) {
  std::string out;
  for (const char c : OneLineTail(text, max_bytes)) {
    if (c == '|') {
      out += "\\|";
    } else if (c != '`') {
      out += c;
    }
  }
  return out.empty() ? "` `" : "`" + out + "`";
}

std::string Said(const Json& row, const std::string& who) {
  return fmt::format("{} ({})", Cell(VisibleToken(row[who + "_says"].get<std::string>()), 30),
                     FormatNumber(row[who + "_probability"]));
}

std::string WorstTokensTable(const Json& report) {
  std::string out =
      "\n## Worst tokens\n| KL | after | really follows | original says | model says |\n"
      "|---|---|---|---|---|\n";
  for (const Json& row : report["worst_tokens"]) {
    out += fmt::format("| {} | {} | {} | {} | {} |\n", FormatNumber(row["kl"]),
                       Cell(row["context"].get<std::string>(), 60),
                       Cell(VisibleToken(row["next"].get<std::string>()), 30), Said(row, "reference"),
                       Said(row, "other"));
  }
  return out;
}

std::string LinearsTable(const Json& report) {
  if (report["linears"].empty()) return "";
  std::string out =
      "\n## Linear layers\n| module | scheme | bits | weight error | cosine | output error |\n"
      "|---|---|---|---|---|---|\n";
  for (const Json& row : report["linears"]) {
    const std::string cosine =
        row["cosine"].is_null() ? "-" : fmt::format("{:.6f}", row["cosine"].get<double>());
    out += fmt::format("| {} | {} | {:.2f} | {} | {} | {} |\n", row["module"].get<std::string>(),
                       row["scheme"].get<std::string>(), row["bits_per_weight"].get<double>(),
                       FormatNumber(row["relative_error"]), cosine,
                       FormatNumber(row["output_error"]));
  }
  const std::string note = TransformedNote(report);
  return note.empty() ? out : out + "\n" + note + "\n";
}

std::string FilesTable(const Json& report) {
  if (!report.contains("files")) return "";
  std::string out = "\n## Files\n| file | bytes | SHA-256 |\n|---|---|---|\n";
  for (const Json& file : report["files"]) {
    out += fmt::format("| {} | {} | `{}` |\n", file["name"].get<std::string>(),
                       file["bytes"].get<uint64_t>(), file["sha256"].get<std::string>());
  }
  return out;
}

}  // namespace

std::string RenderMarkdown(const Json& report) {
  std::string out = fmt::format("# Quality of {}\nAgainst {}.\n\n| | |\n|---|---|\n",
                                ModelName(report["other"]), ModelName(report["reference"]));
  for (const auto& [label, value] : Headline(report)) out += fmt::format("| {} | {} |\n", label, value);
  const Json& text = report["text"];
  out += fmt::format("\nText: {}, {} windows of {} tokens (SHA-256 `{}`). Arithmetic: {}.",
                     text["name"].get<std::string>(), text["windows"].get<int64_t>(),
                     text["window"].get<int64_t>(), text["sha256"].get<std::string>(),
                     report["dtype"].get<std::string>());
  if (report.contains("seconds")) {
    out += fmt::format(" Took {}, peak memory {}.", FormatDuration(report["seconds"].get<double>()),
                       FormatBytes(report["peak_rss_bytes"].get<uint64_t>()));
  }
  out += "\n";
  if (report.contains("recipe")) {
    out += fmt::format("\n## Recipe\n```json\n{}\n```\n", DumpJson(report["recipe"], 2));
  }
  return out + WorstTokensTable(report) + LinearsTable(report) + FilesTable(report);
}

}  // namespace octavo
