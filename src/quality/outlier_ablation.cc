// SPDX-License-Identifier: Apache-2.0
// Zeroes columns on their way into the linears, and measures.
#include "quality/outlier_ablation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <span>
#include <utility>

#include "quality/layerwise_perplexity.h"
#include "quality/svg_plot.h"

namespace octavo {
namespace {

std::vector<int64_t> ChooseOutliers(const OutlierStudy& study) {
  std::vector<int64_t> chosen;
  const bool any = !study.dimensions.empty() && study.dimensions.front().systematic();
  for (const OutlierDimension& dimension : study.dimensions) {
    if (chosen.size() == kMaxZeroedDimensions || (any && !dimension.systematic())) break;
    chosen.push_back(dimension.dimension);
  }
  return chosen;
}

// As many dimensions that are not in `outliers`.
std::vector<int64_t> ChooseOthers(const OutlierStudy& study, const std::vector<int64_t>& outliers, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int64_t> chosen;
  const auto taken = [&](int64_t dimension) {
    return std::ranges::count(outliers, dimension) + std::ranges::count(chosen, dimension) > 0;
  };
  const auto size = static_cast<uint64_t>(study.hidden_size);
  while (chosen.size() < outliers.size() && chosen.size() + outliers.size() < size) {
    const auto dimension = static_cast<int64_t>(random() % size);
    if (!taken(dimension)) chosen.push_back(dimension);
  }
  return chosen;
}

// Zero is all bits zero in every format. The rows belong to the step, and only the linear reads them.
void ZeroColumns(const ActivationView& x, std::span<const int64_t> columns) {
  const auto bytes = static_cast<size_t>(x.element_bytes());
  for (int64_t row = 0; row < x.rows; ++row) {
    auto* start = const_cast<std::byte*>(static_cast<const std::byte*>(x.data)) +
                  static_cast<size_t>(row * x.row_stride) * bytes;
    for (const int64_t column : columns) std::memset(start + static_cast<size_t>(column) * bytes, 0, bytes);
  }
}

}  // namespace

Result<OutlierAblation> ZeroOutliers(std::shared_ptr<const Checkpoint> checkpoint, const OutlierStudy& study,
                                     const EvaluationText& text, uint64_t seed, ThreadPool& pool,
                                     const std::atomic<bool>* cancel,
                                     const std::function<void(uint64_t, uint64_t)>& progress) {
  OutlierAblation result;
  result.outliers = ChooseOutliers(study);
  result.random = ChooseOthers(study, result.outliers, seed);
  if (result.outliers.empty()) return result;
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  LoadOptions load;
  load.max_model_len = text.window;
  OCTAVO_ASSIGN_OR_RETURN(LayerwiseModel model, LayerwiseModel::Open(std::move(checkpoint), load,
                                                                     KvDType::kBf16, isa, pool));
  const std::set<std::string, std::less<>> inputs(study.inputs.begin(), study.inputs.end());
  const auto steps = static_cast<uint64_t>(model.config().num_layers * text.windows());
  const uint64_t total = steps * (1 + result.outliers.size() + result.random.size());
  uint64_t done = 0;
  const auto measure = [&](std::span<const int64_t> zeroed) {
    const LinearTap tap = [&](std::string_view slot, const ActivationView& x) {
      if (inputs.contains(slot)) ZeroColumns(x, zeroed);
    };
    return LayerwisePerplexity(model, text, pool, &tap, cancel, [&] {
      if (progress) progress(++done, total);
    });
  };
  OCTAVO_ASSIGN_OR_RETURN(const double whole, measure({}));
  for (const auto& [dimensions, perplexities] : {std::pair(&result.outliers, &result.without_outliers),
                                                 std::pair(&result.random, &result.without_random)}) {
    perplexities->push_back(whole);
    for (size_t count = 1; count <= dimensions->size(); ++count) {
      OCTAVO_ASSIGN_OR_RETURN(const double perplexity, measure(std::span(*dimensions).first(count)));
      perplexities->push_back(perplexity);
    }
  }
  return result;
}

std::string AblationTable(const OutlierAblation& ablation) {
  if (ablation.outliers.empty()) return "";
  std::string out = fmt::format("\nperplexity with dimensions zeroed: outliers {}; random {}\n{:>8} {:>22} {:>22}\n",
                                fmt::join(ablation.outliers, ", "), fmt::join(ablation.random, ", "), "zeroed",
                                "outliers", "random");
  const double whole = ablation.without_outliers.front();
  const auto cell = [whole](const std::vector<double>& values, size_t i) {
    if (i >= values.size()) return std::string();
    return fmt::format("{:.2f} ({:+.1f} %)", values[i], 100 * (values[i] / whole - 1));
  };
  for (size_t i = 0; i < ablation.without_outliers.size(); ++i) {
    out += fmt::format("{:>8} {:>22} {:>22}\n", i, cell(ablation.without_outliers, i),
                       cell(ablation.without_random, i));
  }
  return out;
}

Json AblationJson(const OutlierAblation& ablation) {
  return {{"outliers", ablation.outliers},
          {"random", ablation.random},
          {"without_outliers", ablation.without_outliers},
          {"without_random", ablation.without_random}};
}

std::string AblationHtml(const OutlierAblation& ablation) {
  if (ablation.outliers.empty()) return "";
  const std::vector<PlotLine> lines = {{"outliers", ablation.without_outliers},
                                       {"random dimensions", ablation.without_random}};
  return "<section class=\"wide\"><h2>Perplexity without them</h2><small>dimensions zeroed in the inputs of q/k/v "
         "and gate/up of all layers, one more at a time</small>" +
         SvgLines(lines, "dimensions zeroed") + "</section>\n";
}

}  // namespace octavo
