// SPDX-License-Identifier: Apache-2.0
// Finds outlier features and reports them.
#include "quality/outliers.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "io/hf_config.h"
#include "models/layerwise_model.h"
#include "quality/html_page.h"
#include "quality/input_tap.h"
#include "quality/residual_stream.h"
#include "quality/svg_plot.h"

namespace octavo {
namespace {

constexpr size_t kPlottedDimensions = 24;
constexpr size_t kTableDimensions = 100;

// Slots of the weight map that a norm feeds: consumers of smoothing sites whose producer is no linear.
std::set<std::string_view> SlotsAfterNorms(const ModelArch& arch) {
  std::set<std::string_view> slots;
  for (const SmoothingSite& site : arch.smoothing) {
    const auto row = std::find_if(arch.weight_map.begin(), arch.weight_map.end(),
                                  [&](const WeightPattern& w) { return w.slot == site.producer; });
    if (row != arch.weight_map.end() && row->quantizable) continue;
    slots.insert(site.consumers.begin(), site.consumers.end());
  }
  return slots;
}

class Study {
 public:
  Study(const EvaluationText& text, const std::atomic<bool>* cancel,
        const std::function<void(uint64_t, uint64_t)>& progress)
      : text_(text), cancel_(cancel), progress_(progress) {}

  Result<OutlierStudy> Run(LayerwiseModel& model, const ModelArch& arch) {
    slots_ = SlotsAfterNorms(arch);
    study_.hidden_size = model.config().hidden_size;
    study_.positions = std::ssize(text_.tokens);
    OCTAVO_ASSIGN_OR_RETURN(ResidualStream stream,
                            ResidualStream::Create("", text_.window, study_.hidden_size));
    std::vector<float> hidden(stream.size());
    for (int64_t w = 0; w < text_.windows(); ++w) {
      const auto tokens = std::span(text_.tokens)
                              .subspan(static_cast<size_t>(w * text_.window),
                                       static_cast<size_t>(text_.window));
      OCTAVO_RETURN_IF_ERROR(model.Embed(tokens, hidden.data()));
      OCTAVO_RETURN_IF_ERROR(stream.Write(w, hidden.data()));
    }
    for (int64_t i = 0; i < model.config().num_layers; ++i) {
      OCTAVO_RETURN_IF_ERROR(RunLayer(model, arch, i, stream, hidden));
    }
    Collect();
    return std::move(study_);
  }

 private:
  Status RunLayer(LayerwiseModel& model, const ModelArch& arch, int64_t index,
                  ResidualStream& stream, std::vector<float>& hidden) {
    OCTAVO_RETURN_IF_ERROR(model.LoadLayer(index));
    InputTap inputs(0, 0);
    const LinearTap tap = inputs.AsTap();
    for (int64_t w = 0; w < text_.windows(); ++w) {
      if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed)) {
        return Cancelled("interrupted");
      }
      OCTAVO_RETURN_IF_ERROR(stream.Read(w, hidden.data()));
      OCTAVO_RETURN_IF_ERROR(model.RunLayer(hidden.data(), text_.window, &tap));
      OCTAVO_RETURN_IF_ERROR(stream.Write(w, hidden.data()));
      if (progress_) {
        progress_(static_cast<uint64_t>(index * text_.windows() + w + 1),
                  static_cast<uint64_t>(model.config().num_layers * text_.windows()));
      }
    }
    for (const Linear* linear : model.linears()) {
      const auto slot = inputs.slots().find(linear->slot());
      if (slot == inputs.slots().end() || linear->parts().empty()) continue;
      for (const LinearPart& part : linear->parts()) AddColumns(part.module, slot->second.stats);
      const WeightPattern* row = arch.Match(linear->parts()[0].module + ".weight");
      if (row == nullptr || !slots_.contains(row->slot)) continue;
      study_.inputs.push_back(linear->slot());
      stats_.push_back(std::move(slot->second.stats));
    }
    return Status::Ok();
  }

  void AddColumns(const std::string& module, const ChannelStats& stats) {
    std::vector<int32_t> columns;
    for (size_t i = 0; i < stats.outlier_rows().size(); ++i) {
      const double share = static_cast<double>(stats.outlier_rows()[i]) / static_cast<double>(stats.rows());
      if (share >= kSystematicPositions) columns.push_back(static_cast<int32_t>(i));
    }
    if (!columns.empty()) study_.module_columns[module] = std::move(columns);
  }

  void Collect() {
    const auto inputs = static_cast<double>(stats_.size());
    for (int64_t dim = 0; dim < study_.hidden_size; ++dim) {
      const auto at = static_cast<size_t>(dim);
      OutlierDimension out{.dimension = dim, .max_abs = {}};
      for (const ChannelStats& stats : stats_) {
        if (at >= stats.max_abs().size()) continue;
        out.max_abs.push_back(static_cast<double>(stats.max_abs()[at]));
        const int32_t rows = stats.outlier_rows()[at];
        out.inputs_share += rows > 0 ? 1 / inputs : 0;
        out.positions_share += static_cast<double>(rows) / static_cast<double>(stats.rows()) / inputs;
      }
      if (out.inputs_share > 0) study_.dimensions.push_back(std::move(out));
    }
    std::sort(study_.dimensions.begin(), study_.dimensions.end(),
              [](const OutlierDimension& a, const OutlierDimension& b) {
                if (a.systematic() != b.systematic()) return a.systematic();
                if (a.positions_share != b.positions_share) {
                  return a.positions_share > b.positions_share;
                }
                return a.dimension < b.dimension;
              });
  }

  const EvaluationText& text_;
  const std::atomic<bool>* cancel_;
  const std::function<void(uint64_t, uint64_t)>& progress_;
  std::set<std::string_view> slots_;
  std::vector<ChannelStats> stats_;
  OutlierStudy study_;
};

std::string Totals(const OutlierStudy& study) {
  const auto systematic = std::count_if(study.dimensions.begin(), study.dimensions.end(),
                                        [](const OutlierDimension& d) { return d.systematic(); });
  return fmt::format(
      "{} of {} dimensions reach {:g} somewhere, {} of them systematically (in 25 % of {} inputs and at "
      "6 % of {} positions)",
      study.dimensions.size(), study.hidden_size, kOutlierThreshold, systematic, study.inputs.size(),
      study.positions);
}

}  // namespace

double OutlierDimension::largest() const {
  return max_abs.empty() ? 0 : *std::max_element(max_abs.begin(), max_abs.end());
}

Result<OutlierStudy> FindOutliers(std::shared_ptr<const Checkpoint> checkpoint,
                                  const LoadOptions& load, const EvaluationText& text,
                                  ThreadPool& pool, const std::atomic<bool>* cancel,
                                  const std::function<void(uint64_t, uint64_t)>& progress) {
  OCTAVO_ASSIGN_OR_RETURN(const Json config, NormalizeConfig(checkpoint->config()));
  OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(config));
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  LoadOptions bounded = load;
  bounded.max_model_len = text.window;
  OCTAVO_ASSIGN_OR_RETURN(
      LayerwiseModel model,
      LayerwiseModel::Open(std::move(checkpoint), bounded, KvDType::kBf16, isa, pool));
  return Study(text, cancel, progress).Run(model, *arch);
}

Json OutliersJson(const OutlierStudy& study) {
  Json dimensions = Json::array();
  for (const OutlierDimension& d : study.dimensions) {
    dimensions.push_back({{"dimension", d.dimension},
                          {"systematic", d.systematic()},
                          {"inputs_share", d.inputs_share},
                          {"positions_share", d.positions_share},
                          {"largest", d.largest()},
                          {"max_abs", d.max_abs}});
  }
  return {{"threshold", kOutlierThreshold},
          {"hidden_size", study.hidden_size},
          {"positions", study.positions},
          {"inputs", study.inputs},
          {"dimensions", dimensions}};
}

std::string OutliersTable(const OutlierStudy& study, size_t count) {
  std::string out = Totals(study) + "\n";
  if (study.dimensions.empty()) return out;
  out += fmt::format("\n{:>10} {:>8} {:>11} {:>9}\n", "dimension", "inputs", "positions", "largest");
  for (size_t i = 0; i < std::min(count, study.dimensions.size()); ++i) {
    const OutlierDimension& d = study.dimensions[i];
    out += fmt::format("{:>10} {:>6.1f} % {:>9.2f} % {:>9.1f}{}\n", d.dimension, 100 * d.inputs_share,
                       100 * d.positions_share, d.largest(), d.systematic() ? "  systematic" : "");
  }
  return out;
}

std::string OutliersHtml(const std::string& model, const OutlierStudy& study, const std::string& more) {
  HeatMap map{.row_labels = {}, .rows = {}, .x_label = "input", .log = true};
  for (size_t i = 0; i < std::min(kPlottedDimensions, study.dimensions.size()); ++i) {
    map.row_labels.push_back(fmt::format("{}", study.dimensions[i].dimension));
    map.rows.push_back(study.dimensions[i].max_abs);
  }
  std::string body = fmt::format("<p class=\"eyebrow\">Outlier features</p><h1>{}</h1><p "
                                 "class=\"soft\">{}</p>\n",
                                 EscapeHtml(model), EscapeHtml(Totals(study)));
  if (!study.dimensions.empty()) {
    body += "<section class=\"wide\"><h2>Largest magnitude</h2><small>the first dimensions of the table "
            "in the inputs of q/k/v and gate/up, from the first layer to the last</small>" +
            SvgHeatMap(map) + "</section>\n";
  }
  body += more;
  body += "<section class=\"wide\"><h2>Dimensions</h2><div class=\"scroll\"><table><tr><th>dimension</th>"
          "<th>inputs</th><th>positions</th><th>largest</th><th></th></tr>\n";
  for (size_t i = 0; i < std::min(kTableDimensions, study.dimensions.size()); ++i) {
    const OutlierDimension& d = study.dimensions[i];
    body += fmt::format("<tr><td class=\"n\">{}</td><td class=\"n\">{:.1f} %</td><td class=\"n\">{:.2f} "
                        "%</td><td class=\"n\">{:.1f}</td><td>{}</td></tr>\n",
                        d.dimension, 100 * d.inputs_share, 100 * d.positions_share, d.largest(),
                        d.systematic() ? "systematic" : "");
  }
  return HtmlPage("Outlier features of " + model, body + "</table></div></section>\n");
}

}  // namespace octavo
