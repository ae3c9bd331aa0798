// SPDX-License-Identifier: Apache-2.0
// The report as one self-contained page.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/units.h"
#include "quality/html_page.h"
#include "quality/quality_report.h"
#include "quality/report_text.h"
#include "quality/svg_plot.h"

namespace octavo {
namespace {

double NumberOr(const Json& number) {
  return number.is_number() ? number.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::vector<double> Numbers(const Json& array) {
  std::vector<double> out;
  for (const Json& number : array) out.push_back(NumberOr(number));
  return out;
}

std::string Card(std::string_view value, std::string_view label) {
  return fmt::format("<div class=\"card\"><b>{}</b><span>{}</span></div>\n", EscapeHtml(value),
                     EscapeHtml(label));
}

std::string Figure(std::string_view title, std::string_view caption, const std::string& plot) {
  if (plot.empty()) return "";
  return fmt::format("<section><h2>{}</h2><small>{}</small>{}</section>\n", EscapeHtml(title),
                     EscapeHtml(caption), plot);
}

// "self_attn.q_proj" of "model.layers.3.self_attn.q_proj", and 3; -1 outside the layers.
std::pair<std::string, int64_t> SplitModule(const std::string& module) {
  for (size_t dot = module.find('.'); dot != module.npos; dot = module.find('.', dot + 1)) {
    const size_t end = module.find_first_not_of("0123456789", dot + 1);
    if (end == module.npos || end == dot + 1 || end - dot > 9 || module[end] != '.') continue;
    return {module.substr(end + 1), std::stoll(module.substr(dot + 1, end - dot - 1))};
  }
  return {module, -1};
}

std::string LastPart(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::string Header(const Json& report) {
  const Json& text = report["text"];
  std::string out = fmt::format("<p class=\"eyebrow\">Quality certificate</p><h1>{}</h1>\n<p class=\"soft\">measured against {} on {} tokens of {} "
                                "text</p>\n",
                                EscapeHtml(ModelName(report["other"])),
                                EscapeHtml(ModelName(report["reference"])),
                                text["windows"].get<int64_t>() * text["window"].get<int64_t>(),
                                EscapeHtml(ModelName({{"path", text["name"]}, {"quantization", nullptr}})));
  const int64_t bad = report["divergence"]["non_finite"].get<int64_t>();
  if (bad > 0) {
    out += fmt::format("<p class=\"verdict m\">{} positions are not finite: the model is broken</p>\n",
                       bad);
  }
  return out;
}

std::string Cards(const Json& report) {
  const Json& divergence = report["divergence"];
  const Json& perplexity = report["perplexity"];
  const Json& bits = report["other"]["bits_per_weight"];
  const double ratio = report["other"]["bytes"].get<double>() / report["reference"]["bytes"].get<double>();
  std::string out = "<div class=\"cards\">\n";
  const auto error = [](const Json& estimate, double factor) {
    return fmt::format("± {:.2g}", factor * NumberOr(estimate["standard_error"]));
  };
  out += Card(FormatNumber(divergence["mean_kl"]["value"]),
              error(divergence["mean_kl"], 1) + " nats mean KL divergence");
  out += Card(fmt::format("{:.1f} %", 100 * NumberOr(divergence["top1_agreement"]["value"])),
              error(divergence["top1_agreement"], 100) + " % same most likely token");
  out += Card(fmt::format("{:+.2f} %", NumberOr(perplexity["increase_percent"]["value"])),
              fmt::format("{} % perplexity, {} to {}", error(perplexity["increase_percent"], 1),
                          FormatNumber(perplexity["reference"]["value"]),
                          FormatNumber(perplexity["other"]["value"])));
  if (bits.is_number()) {
    out += Card(fmt::format("{:.2f}", bits.get<double>()),
                "bits per weight of linear layers, scales included");
  }
  out += Card(FormatBytes(report["other"]["bytes"].get<uint64_t>()),
              fmt::format("of weights, {:.0f} % of {}", 100 * ratio,
                          FormatBytes(report["reference"]["bytes"].get<uint64_t>())));
  return out + "</div>\n";
}

std::string DivergencePlot(const Json& report) {
  const Json& divergence = report["divergence"];
  const Json& histogram = divergence["histogram"];
  const std::vector<PlotMark> marks = {
      {NumberOr(divergence["median_kl"]["value"]), "median"},
      {NumberOr(divergence["mean_kl"]["value"]), "mean"},
      {NumberOr(divergence["p99_kl"]["value"]), "99 %"}};
  return Figure("KL divergence per token", "how many positions have which divergence",
                SvgHistogram(Numbers(histogram["edges"]), histogram["counts"].get<std::vector<int64_t>>(),
                             marks, "KL divergence in nats"));
}

std::string DepthPlot(const Json& report) {
  PlotLine own{.label = "of the layer alone", .values = {}};
  PlotLine total{.label = "of the residual stream", .values = {}};
  for (const Json& layer : report["layers"]) {
    own.values.push_back(NumberOr(layer["own_error"]));
    total.values.push_back(NumberOr(layer["total_error"]));
  }
  return Figure("Error through the layers", "relative error of what a layer adds, and of all so far",
                SvgLines({own, total}, "layer"));
}

// One map per figure of the linears: kinds of modules by layers.
std::string LinearMap(const Json& report, const char* key, std::string_view title,
                      std::string_view caption) {
  std::vector<std::string> kinds;
  std::map<std::string, std::vector<double>> rows;
  for (const Json& linear : report["linears"]) {
    const auto [kind, layer] = SplitModule(linear["module"].get<std::string>());
    if (layer < 0 || !linear[key].is_number()) continue;
    if (!rows.contains(kind)) kinds.push_back(kind);
    std::vector<double>& row = rows[kind];
    if (std::ssize(row) <= layer) {
      row.resize(static_cast<size_t>(layer) + 1, std::numeric_limits<double>::quiet_NaN());
    }
    row[static_cast<size_t>(layer)] = linear[key].get<double>();
  }
  if (kinds.empty()) return "";  // every module is transformed
  HeatMap map{.row_labels = {}, .rows = {}, .x_label = "layer"};
  for (const std::string& kind : kinds) {
    map.row_labels.push_back(LastPart(kind));
    map.rows.push_back(rows[kind]);
  }
  return Figure(title, caption, SvgHeatMap(map));
}

// Inputs of one kind of linear: layers by channels.
struct InputMaps {
  HeatMap reference;
  HeatMap other;
  double largest_spread = 0;
  std::string largest;  // where
};

std::string ActivationMaps(const Json& report) {
  std::vector<std::string> kinds;
  std::map<std::string, InputMaps> maps;
  for (const Json& input : report["inputs"]) {
    const std::string kind = LastPart(input["slot"].get<std::string>());
    if (!maps.contains(kind)) kinds.push_back(kind);
    InputMaps& entry = maps[kind];
    const std::string layer = fmt::format("{}", input["layer"].get<int64_t>());
    entry.reference.row_labels.push_back(layer);
    entry.reference.rows.push_back(Numbers(input["max_abs"]));
    entry.other.row_labels.push_back(layer);
    entry.other.rows.push_back(Numbers(input["other_max_abs"]));
    const double spread = NumberOr(input["spread"]);
    if (spread > entry.largest_spread && !input["top_channels"].empty()) {
      entry.largest_spread = spread;
      const Json& top = input["top_channels"][0];
      entry.largest = fmt::format("layer {}: channel {} reaches {}, {:.0f} times the median channel",
                                  layer, top["channel"].get<int64_t>(), FormatNumber(top["max_abs"]),
                                  spread);
    }
  }
  std::string out;
  for (const std::string& kind : kinds) {
    InputMaps& entry = maps[kind];
    for (HeatMap* map : {&entry.reference, &entry.other}) {
      map->x_label = "input channels";
      map->log = true;
      map->titles = false;
    }
    out += Figure(kind + ", original", entry.largest, SvgHeatMap(entry.reference));
    out += Figure(kind + ", quantized", "largest magnitude of each channel, by layer",
                  SvgHeatMap(entry.other));
  }
  if (out.empty()) return "";
  return "<h2>Activations</h2><small>the largest magnitude of each input channel of the linear layers: "
         "bright columns are outlier channels</small><div class=\"grid\">" +
         out + "</div>\n";
}

std::string Said(const Json& row, const std::string& who) {
  return fmt::format("<code class=\"said\">{}</code> <small>{:.0f} %</small>",
                     EscapeHtml(VisibleToken(row[who + "_says"].get<std::string>())),
                     100 * NumberOr(row[who + "_probability"]));
}

std::string WorstTokensTable(const Json& report) {
  std::string out =
      "<section class=\"wide\"><h2>Worst tokens</h2><small>where the predictions differ most</small>"
      "<div class=\"scroll\"><table><tr><th>KL</th><th>after</th><th>really follows</th><th>original "
      "says</th><th>model says</th></tr>\n";
  for (const Json& row : report["worst_tokens"]) {
    out += fmt::format("<tr><td class=\"n\">{}</td><td class=\"ctx\"><code>{}</code></td><td><code "
                       "class=\"said\">{}</code></td><td>{}</td><td>{}</td></tr>\n",
                       FormatNumber(row["kl"]),
                       EscapeHtml(OneLineTail(row["context"].get<std::string>(), 80)),
                       EscapeHtml(VisibleToken(row["next"].get<std::string>())), Said(row, "reference"),
                       Said(row, "other"));
  }
  return out + "</table></div></section>\n";
}

std::string FiguresTable(const Json& report) {
  std::string out = "<section><h2>All figures</h2><small>± is one standard error</small><div "
                    "class=\"scroll\"><table>\n";
  for (const auto& [label, value] : Headline(report)) {
    out += fmt::format("<tr><td>{}</td><td class=\"n\">{}</td></tr>\n", EscapeHtml(label),
                       EscapeHtml(value));
  }
  return out + "</table></div></section>\n";
}

std::string Origin(const Json& report) {
  const Json& text = report["text"];
  std::string out = fmt::format(
      "<section><h2>How it was made</h2><small>Octavo {}, {} windows of {} tokens, {} "
      "arithmetic{}</small><p class=\"hash\">text {} {}</p>",
      EscapeHtml(report["octavo"].get<std::string>()), text["windows"].get<int64_t>(),
      text["window"].get<int64_t>(), EscapeHtml(report["dtype"].get<std::string>()),
      report.contains("seconds")
          ? fmt::format(", {}, peak memory {}", FormatDuration(report["seconds"].get<double>()),
                        FormatBytes(report["peak_rss_bytes"].get<uint64_t>()))
          : "",
      EscapeHtml(text["name"].get<std::string>()), EscapeHtml(text["sha256"].get<std::string>()));
  if (report.contains("recipe")) {
    out += fmt::format("<pre>{}</pre>", EscapeHtml(DumpJson(report["recipe"], 2)));
  }
  return out + "</section>\n";
}

std::string FilesTable(const Json& report) {
  if (!report.contains("files")) return "";
  std::string out = "<section class=\"wide\"><h2>Files</h2><div class=\"scroll\"><table>"
                    "<tr><th>file</th><th>size</th><th>SHA-256</th></tr>\n";
  for (const Json& file : report["files"]) {
    out += fmt::format("<tr><td>{}</td><td class=\"n\">{}</td><td class=\"hash\">{}</td></tr>\n",
                       EscapeHtml(file["name"].get<std::string>()),
                       FormatBytes(file["bytes"].get<uint64_t>()),
                       EscapeHtml(file["sha256"].get<std::string>()));
  }
  return out + "</table></div></section>\n";
}

}  // namespace

std::string RenderHtml(const Json& report) {
  std::string out = Header(report) + Cards(report);
  out += "<div class=\"grid\">" + DivergencePlot(report) + DepthPlot(report) +
         LinearMap(report, "output_error", "Output error of linear layers",
                   "relative, on the original's inputs, activations rounded as in use") +
         LinearMap(report, "relative_error", "Weight error of linear layers",
                   "relative Frobenius norm of the difference") +
         "</div>\n";
  if (const std::string note = TransformedNote(report); !note.empty()) {
    out += "<p><small>" + EscapeHtml(note) + "</small></p>\n";
  }
  out += WorstTokensTable(report) + ActivationMaps(report);
  out += "<div class=\"grid\">" + FiguresTable(report) + Origin(report) + "</div>\n";
  return HtmlPage("Quality of " + ModelName(report["other"]), out + FilesTable(report));
}

}  // namespace octavo
