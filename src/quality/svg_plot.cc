// SPDX-License-Identifier: Apache-2.0
// Draws on a canvas of 440 units, which a phone shows nearly at full size.
#include "quality/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace octavo {
namespace {

constexpr double kWidth = 440;
constexpr double kLeft = 46;
constexpr double kRight = 12;
constexpr double kTop = 14;
constexpr double kBottom = 36;

std::string Open(double height, const std::string& label) {
  return fmt::format("<svg viewBox=\"0 0 {} {:.0f}\" role=\"img\" aria-label=\"{}\">\n", kWidth,
                     height, EscapeHtml(label));
}

std::string Text(double x, double y, std::string_view anchor, std::string_view text,
                 std::string_view style = "t") {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
                     style, x, y, anchor, EscapeHtml(text));
}

std::string Line(double x1, double y1, double x2, double y2, std::string_view style) {
  return fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                     style, x1, y1, x2, y2);
}

// A linear or logarithmic axis from data to canvas.
struct Axis {
  double low = 0;
  double high = 1;
  double from = 0;
  double to = 1;
  bool log = false;

  double At(double value) const {
    const double a = log ? std::log10(low) : low;
    const double b = log ? std::log10(high) : high;
    const double v = log ? std::log10(value) : value;
    return from + (to - from) * (b > a ? (v - a) / (b - a) : 0.5);
  }
  std::vector<double> Ticks() const;
};

std::vector<double> Axis::Ticks() const {
  std::vector<double> ticks;
  if (log) {
    const int first = static_cast<int>(std::ceil(std::log10(low) - 1e-9));
    const int last = static_cast<int>(std::floor(std::log10(high) + 1e-9));
    const int step = std::max(1, (last - first) / 5);
    for (int i = first; i <= last; i += step) ticks.push_back(std::pow(10.0, i));
    if (ticks.size() >= 2) return ticks;
    ticks = {low, std::sqrt(low * high), high};
    return ticks;
  }
  const double rough = (high - low) / 4;
  if (!(rough > 0)) return {low};
  const double decade = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * decade;
  for (const double nice : {1.0, 2.0, 5.0}) {
    if (rough <= nice * decade) {
      step = nice * decade;
      break;
    }
  }
  for (double tick = std::ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step) {
    ticks.push_back(std::fabs(tick) < step * 1e-6 ? 0 : tick);
  }
  return ticks;
}

std::string YGrid(const Axis& axis) {
  std::string out;
  for (const double tick : axis.Ticks()) {
    const double y = axis.At(tick);
    out += Line(kLeft, y, kWidth - kRight, y, "grid");
    out += Text(kLeft - 6, y + 4, "end", fmt::format("{:.3g}", tick));
  }
  return out;
}

// The smallest and largest finite value (> 0 only if `positive`).
std::pair<double, double> Range(const std::vector<std::vector<double>>& rows, bool positive) {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (const std::vector<double>& row : rows) {
    for (const double value : row) {
      if (!std::isfinite(value) || (positive && value <= 0)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  return low <= high ? std::pair(low, high) : std::pair(1.0, 1.0);
}

// Ticks of a 0, 1, 2, ... axis, at most about ten.
std::string IndexTicks(int64_t count, const Axis& axis, double y) {
  std::string out;
  int64_t step = 1;
  for (const int64_t nice : {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}) {
    step = nice;
    if (count / nice <= 10) break;
  }
  for (int64_t i = 0; i < count; i += step) {
    out += Text(axis.At(static_cast<double>(i)), y, "middle", fmt::format("{}", i));
  }
  return out;
}

std::string ColorBar(double low, double high, double y) {
  constexpr double kCell = 12;
  std::string out;
  const double left = kWidth - kRight - kCell * kHeatColors - 46;
  for (int i = 0; i < kHeatColors; ++i) {
    out += fmt::format("<rect class=\"h{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"8\"/>\n", i,
                       left + i * kCell, y - 8, kCell + 0.3);
  }
  out += Text(left - 6, y, "end", fmt::format("{:.2g}", low));
  out += Text(left + kCell * kHeatColors + 6, y, "start", fmt::format("{:.2g}", high));
  return out;
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
          out += "\xEF\xBF\xBD";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string SvgHistogram(const std::vector<double>& edges, const std::vector<int64_t>& counts,
                         const std::vector<PlotMark>& marks, const std::string& x_label) {
  if (edges.size() < 2 || counts.size() != edges.size() + 1) return "";
  constexpr double kHeight = 230;
  const auto most = static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  const Axis y{.low = 0, .high = std::max(1.0, most), .from = kHeight - kBottom, .to = kTop + 42};
  // Half-open bins get the width of their neighbours.
  const double ratio = edges[1] / edges[0];
  const Axis x{.low = edges.front() / ratio, .high = edges.back() * ratio, .from = kLeft,
               .to = kWidth - kRight, .log = true};
  std::string out = Open(kHeight, "Histogram: " + x_label) + YGrid(y);
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    const double left = x.At(i == 0 ? x.low : edges[i - 1]);
    const double right = x.At(i == edges.size() ? x.high : edges[i]);
    const double top = y.At(static_cast<double>(counts[i]));
    const std::string range =
        i == 0 ? fmt::format("up to {:.2g}", edges[0])
        : i == edges.size() ? fmt::format("above {:.2g}", edges.back())
                            : fmt::format("{:.2g} to {:.2g}", edges[i - 1], edges[i]);
    out += fmt::format(
        "<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>{}: "
        "{} positions</title></rect>\n",
        left + 0.5, top, right - left - 1, y.from - top, range, counts[i]);
  }
  double label_y = kTop;
  for (const PlotMark& mark : marks) {
    if (!(mark.x > 0) || !std::isfinite(mark.x)) continue;
    const double at = x.At(std::clamp(mark.x, x.low, x.high));
    out += Line(at, label_y + 3, at, y.from, "mark");
    const bool rightward = at < kWidth - 90;
    out += Text(at + (rightward ? 4 : -4), label_y + 10, rightward ? "start" : "end", mark.label, "m");
    label_y += 13;
  }
  out += Line(kLeft, y.from, kWidth - kRight, y.from, "axis");
  for (const double tick : x.Ticks()) {
    out += Text(x.At(tick), y.from + 15, "middle", fmt::format("{:g}", tick));
  }
  out += Text((kLeft + kWidth - kRight) / 2, kHeight - 4, "middle", x_label, "l");
  return out + "</svg>\n";
}

std::string SvgLines(const std::vector<PlotLine>& lines, const std::string& x_label) {
  constexpr double kHeight = 230;
  std::vector<std::vector<double>> rows;
  size_t count = 0;
  for (const PlotLine& line : lines) {
    rows.push_back(line.values);
    count = std::max(count, line.values.size());
  }
  if (count == 0) return "";
  const auto [smallest, largest] = Range(rows, /*positive=*/true);
  const bool log = largest > 20 * smallest && Range(rows, false).first > 0;
  const Axis y{.low = log ? smallest : 0, .high = largest, .from = kHeight - kBottom, .to = kTop + 16,
               .log = log};
  const Axis x{.low = 0, .high = std::max(1.0, static_cast<double>(count - 1)), .from = kLeft + 8,
               .to = kWidth - kRight - 8};
  std::string out = Open(kHeight, x_label) + YGrid(y);
  double legend = kLeft;
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string path;
    std::string dots;
    bool pen_down = false;
    for (size_t j = 0; j < lines[i].values.size(); ++j) {
      const double value = lines[i].values[j];
      if (!std::isfinite(value)) {
        pen_down = false;
        continue;
      }
      const double at_x = x.At(static_cast<double>(j));
      const double at_y = y.At(log ? std::max(value, smallest) : value);
      path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", at_x, at_y);
      dots += fmt::format("<circle class=\"d{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.4\"><title>{} {}: "
                          "{:.4g}</title></circle>\n",
                          i, at_x, at_y, EscapeHtml(x_label), j, value);
      pen_down = true;
    }
    out += fmt::format("<path class=\"s{}\" d=\"{}\"/>\n{}", i, path, dots);
    out += fmt::format("<circle class=\"d{}\" cx=\"{:.1f}\" cy=\"9\" r=\"4\"/>\n", i, legend + 4);
    out += Text(legend + 13, 13, "start", lines[i].label, "l");
    legend += 26 + 6.4 * static_cast<double>(lines[i].label.size());
  }
  out += Line(kLeft, y.from, kWidth - kRight, y.from, "axis");
  out += IndexTicks(static_cast<int64_t>(count), x, y.from + 15);
  out += Text((kLeft + kWidth - kRight) / 2, kHeight - 4, "middle", x_label, "l");
  return out + "</svg>\n";
}

std::string SvgCurves(const std::vector<PlotCurve>& curves, const std::string& x_label) {
  constexpr double kHeight = 260;
  std::vector<std::vector<double>> xs;
  std::vector<std::vector<double>> ys;
  for (const PlotCurve& curve : curves) {
    xs.emplace_back();
    ys.emplace_back();
    for (const PlotCurve::Point& point : curve.points) {
      if (!(point.y > 0) || !std::isfinite(point.y)) continue;
      xs.back().push_back(point.x);
      ys.back().push_back(point.y);
    }
  }
  const auto [left, right] = Range(xs, false);
  const auto [smallest, largest] = Range(ys, true);
  const Axis x{.low = left, .high = right, .from = kLeft + 8, .to = kWidth - kRight - 8};
  const Axis y{.low = smallest, .high = largest, .from = kHeight - kBottom, .to = kTop + 16, .log = true};
  std::string out = Open(kHeight, x_label) + YGrid(y);
  for (const double tick : x.Ticks()) {
    out += Text(x.At(tick), y.from + 15, "middle", fmt::format("{:.3g}", tick));
  }
  double legend = kLeft;
  for (size_t i = 0; i < curves.size(); ++i) {
    std::string path;
    std::string dots;
    for (const PlotCurve::Point& point : curves[i].points) {
      if (!(point.y > 0) || !std::isfinite(point.y)) continue;
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x.At(point.x), y.At(point.y));
      dots += fmt::format("<circle class=\"d{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"><title>{}</title>"
                          "</circle>\n",
                          i, x.At(point.x), y.At(point.y), i == 0 ? 1.5 : 4.0, EscapeHtml(point.title));
    }
    if (i == 0) out += fmt::format("<path class=\"s0\" d=\"{}\"/>\n", path);
    out += dots;
    out += fmt::format("<circle class=\"d{}\" cx=\"{:.1f}\" cy=\"9\" r=\"4\"/>\n", i, legend + 4);
    out += Text(legend + 13, 13, "start", curves[i].label, "l");
    legend += 26 + 6.4 * static_cast<double>(curves[i].label.size());
  }
  out += Line(kLeft, y.from, kWidth - kRight, y.from, "axis");
  out += Text((kLeft + kWidth - kRight) / 2, kHeight - 4, "middle", x_label, "l");
  return out + "</svg>\n";
}

std::string StandaloneSvg(const std::string& svg) {
  constexpr std::string_view kStyle =
      "<style>svg{background:#fff}.t,.l{font:11px system-ui,sans-serif;fill:#5b6875}.l{font-size:12px}"
      "line.grid{stroke:#dfe4ea}line.axis{stroke:#5b6875}.s0{fill:none;stroke-width:1.8;stroke:#2458c5}"
      ".d0{fill:#2458c5}.d1{fill:#d9632a}.d2{fill:#b3261e}</style>";
  const size_t begin = svg.find("<svg ");
  const size_t end = svg.find('>', begin);
  if (begin == std::string::npos || end == std::string::npos) return svg;
  return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"880\" {}>\n{}{}",
                     svg.substr(begin + 5, end - begin - 5), kStyle, svg.substr(end + 1));
}

std::string SvgHeatMap(const HeatMap& map) {
  size_t columns = 0;
  size_t longest = 0;
  for (const std::vector<double>& row : map.rows) columns = std::max(columns, row.size());
  for (const std::string& label : map.row_labels) longest = std::max(longest, label.size());
  if (columns == 0) return "";
  const double left = std::min(130.0, 12 + 6.6 * static_cast<double>(longest));
  const auto row_count = static_cast<double>(map.rows.size());
  const double cell_h = std::clamp(190 / row_count, 2.5, 22.0);
  const double cell_w = (kWidth - kRight - left) / static_cast<double>(columns);
  const double bottom = kTop + cell_h * row_count;
  auto [low, high] = Range(map.rows, map.log);
  if (map.low < map.high) std::tie(low, high) = std::pair(map.low, map.high);
  const Axis color{.low = low, .high = high, .from = 0, .to = kHeatColors, .log = map.log};
  std::string out = Open(bottom + 40, map.x_label);
  std::vector<std::string> paths(kHeatColors);  // cells without a tooltip share one path per colour
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const double y = kTop + cell_h * static_cast<double>(r);
    const size_t every = std::max<size_t>(1, static_cast<size_t>(std::ceil(12 / cell_h)));
    if (r < map.row_labels.size() && r % every == 0) {
      out += Text(left - 6, y + std::min(cell_h / 2 + 4, 11.0), "end", map.row_labels[r]);
    }
    for (size_t c = 0; c < map.rows[r].size(); ++c) {
      const double value = map.rows[r][c];
      if (!std::isfinite(value)) continue;
      const double level = map.log && value <= 0 ? 0 : color.At(value);
      const int bin = std::clamp(static_cast<int>(level), 0, kHeatColors - 1);
      const double x = left + cell_w * static_cast<double>(c);
      if (!map.titles) {
        paths[static_cast<size_t>(bin)] += fmt::format("M{:.1f} {:.1f}h{:.2f}v{:.2f}h-{:.2f}z", x, y,
                                                       cell_w + 0.2, cell_h + 0.2, cell_w + 0.2);
        continue;
      }
      out += fmt::format(
          "<rect class=\"h{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.2f}\"><title>{} "
          "{} {}: {:.4g}</title></rect>\n",
          bin, x, y, std::max(cell_w - 0.8, cell_w * 0.9), std::max(cell_h - 0.8, cell_h * 0.9),
          EscapeHtml(r < map.row_labels.size() ? map.row_labels[r] : ""), EscapeHtml(map.x_label), c,
          value);
    }
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    if (!paths[i].empty()) out += fmt::format("<path class=\"h{}\" d=\"{}\"/>\n", i, paths[i]);
  }
  if (map.titles) {
    const Axis x{.low = 0, .high = static_cast<double>(columns), .from = left + cell_w / 2,
                 .to = kWidth - kRight + cell_w / 2};
    out += IndexTicks(static_cast<int64_t>(columns), x, bottom + 14);
  }
  out += Text(left, bottom + 32, "start", map.x_label, "l");
  out += ColorBar(low, high, bottom + 32);
  return out + "</svg>\n";
}

}  // namespace octavo
