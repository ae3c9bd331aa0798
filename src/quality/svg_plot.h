// SPDX-License-Identifier: Apache-2.0
// The plots of a report as inline SVG. Colours are classes of the page's style sheet (report_html.cc),
// so that one drawing serves light and dark; every mark carries a <title> or the plot a caption.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octavo {

// Text for HTML and SVG: & < > " ' become entities, control characters but white space U+FFFD.
std::string EscapeHtml(std::string_view text);

// Vertical bars over a logarithmic axis: counts[i] lies between edges[i - 1] and edges[i]; the first
// and last bar are open. `marks` are vertical lines with a label.
struct PlotMark {
  double x = 0;
  std::string label;
};
std::string SvgHistogram(const std::vector<double>& edges, const std::vector<int64_t>& counts,
                         const std::vector<PlotMark>& marks, const std::string& x_label);

// Lines over 0, 1, 2, ...; values that are not finite leave gaps. The y axis is logarithmic when all
// values are positive and span more than a factor of 20.
struct PlotLine {
  std::string label;
  std::vector<double> values;
};
std::string SvgLines(const std::vector<PlotLine>& lines, const std::string& x_label);

// Points (x, y) with y > 0 over a logarithmic axis, the first curve joined by lines, the others marked.
struct PlotCurve {
  struct Point {
    double x = 0;
    double y = 0;
    std::string title;  // tooltip
  };
  std::string label;
  std::vector<Point> points;
};
std::string SvgCurves(const std::vector<PlotCurve>& curves, const std::string& x_label);

// A drawing as a file of its own, with the styles that a page would give it.
std::string StandaloneSvg(const std::string& svg);

// One cell per value, coloured from the smallest to the largest; not finite: empty. With row labels
// down the side. `log` spaces the colours logarithmically (values > 0).
struct HeatMap {
  std::vector<std::string> row_labels;
  std::vector<std::vector<double>> rows;
  std::string x_label;
  bool log = false;
  bool titles = true;  // a tooltip per cell; off for large maps
  double low = 0;      // the colours' range; low == high: that of the values
  double high = 0;
};
std::string SvgHeatMap(const HeatMap& map);

// Number of colours of a heat map: classes h0 .. h11.
inline constexpr int kHeatColors = 12;

}  // namespace octavo
