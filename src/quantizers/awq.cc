// SPDX-License-Identifier: Apache-2.0
// Grid searches over scales and clipping limits.
#include "quantizers/awq.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "quantizers/scale_judge.h"
#include "quantizers/search_error.h"

namespace octavo {
namespace {

constexpr int kRatios = 20;  // of either family of scales
constexpr double kRatioStep = 0.05;
constexpr double kHopeless = 1.5;  // times the least error of a family: larger ratios only make it worse
constexpr int kClipSteps = 10;  // of 1/20 each
constexpr int64_t kClipRows = 1024;

// mean|w| per channel over sampled rows, every weight relative to the largest of its group.
Result<std::vector<double>> MeanRelativeWeight(const Checkpoint& checkpoint,
                                               const std::vector<const LayerModule*>& modules, int64_t k) {
  std::vector<double> mean(static_cast<size_t>(k));
  double count = 0;
  for (const LayerModule* module : modules) {
    OCTAVO_ASSIGN_OR_RETURN(const SampledRows rows, SampleRows(checkpoint, *module));
    const QuantArgs& args = module->planned->module->args.weights;
    const int64_t size = args.strategy == Strategy::kGroup ? args.group_size : k;
    for (size_t begin = 0; begin < rows.values.size(); begin += static_cast<size_t>(size)) {
      const std::span group(rows.values.data() + begin, static_cast<size_t>(size));
      float max = 1e-6f;
      for (const float value : group) max = std::max(max, std::fabs(value));
      const size_t column = begin % static_cast<size_t>(k);
      for (size_t i = 0; i < group.size(); ++i) mean[column + i] += static_cast<double>(std::fabs(group[i]) / max);
    }
    count += static_cast<double>(rows.count);
  }
  for (double& value : mean) value /= std::max(count, 1.0);
  return mean;
}

// mean|x| per channel over the consumers' tokens.
std::vector<double> MeanAbs(const LayerModules& layer, const LayerSite& site,
                            const LayerInputs& inputs, size_t k) {
  std::vector<double> mean(k);
  double tokens = 0;
  for (const size_t index : site.consumers) {
    const auto it = inputs.find(layer.modules[index].name);
    if (it == inputs.end()) continue;
    tokens += static_cast<double>(it->second->num_tokens);
    for (size_t i = 0; i < k; ++i) mean[i] += it->second->abs_sum[i];
  }
  for (double& value : mean) value /= std::max(tokens, 1.0);
  return mean;
}

// x^ratio, and divided by w^(1 - ratio) unless w is empty; the least and the largest are reciprocal.
std::vector<float> ScalesOf(const std::vector<double>& x, const std::vector<double>& w, double ratio) {
  std::vector<float> scales;
  for (size_t i = 0; i < x.size(); ++i) {
    const double weight = w.empty() ? 1.0 : std::pow(w[i], 1 - ratio) + 1e-4;
    scales.push_back(static_cast<float>(std::max(std::pow(x[i], ratio) / weight, 1e-4)));
  }
  const auto [low, high] = std::minmax_element(scales.begin(), scales.end());
  const float center = std::sqrt(*low * *high);
  for (float& scale : scales) scale /= center;
  return scales;
}

// Tries all limits for one group of columns; rows [row_begin, row_begin + count) of the module.
class GroupClipper {
 public:
  GroupClipper(const Scheme& scheme, const TargetModule& module, MatrixProduct& product)
      : scheme_(scheme), group_(module), product_(product) {
    if (module.args.weights.strategy == Strategy::kGroup) group_.k = module.args.weights.group_size;
  }

  // `rows` [count, k], group `group`; limits[i * groups] gets row i's.
  Status Search(const float* rows, int64_t count, int64_t k, int64_t group,
                const SearchGram& gram, float* limits) {
    const int64_t size = group_.k;
    const int64_t groups = k / size;
    std::vector<float> original(static_cast<size_t>(count * size));
    std::vector<float> absmax(static_cast<size_t>(count));
    for (int64_t row = 0; row < count; ++row) {
      for (int64_t i = 0; i < size; ++i) {
        const float w = rows[row * k + group * size + i];
        original[static_cast<size_t>(row * size + i)] = w;
        float& max = absmax[static_cast<size_t>(row)];
        max = std::max(max, std::fabs(w));
      }
    }
    std::vector<double> best(static_cast<size_t>(count), std::numeric_limits<double>::infinity());
    for (int step = 0; step < kClipSteps; ++step) {
      const float share = 1.0f - static_cast<float>(step) / 20.0f;
      OCTAVO_RETURN_IF_ERROR(Try(original, absmax, share, gram));
      for (size_t row = 0; row < best.size(); ++row) {
        if (!(forms_[row] < best[row])) continue;
        best[row] = forms_[row];
        limits[static_cast<int64_t>(row) * groups] = absmax[row] * share;
      }
    }
    return Status::Ok();
  }

 private:
  // forms_ = error per row with every |w| limited to share * absmax.
  Status Try(const std::vector<float>& original, const std::vector<float>& absmax, float share,
             const SearchGram& gram) {
    const int64_t size = group_.k;
    const auto count = static_cast<int64_t>(absmax.size());
    errors_.resize(original.size());
    const Candidate candidate{
        .read = [&](int64_t row, float* x) {
          const float* from = original.data() + row * size;
          const float limit = absmax[static_cast<size_t>(row)] * share;
          for (int64_t i = 0; i < size; ++i) x[i] = std::clamp(from[i], -limit, limit);
        },
        .error = [&](int64_t row, float* values) {
          const float* from = original.data() + row * size;
          for (int64_t i = 0; i < size; ++i) values[i] -= from[i];
        }};
    OCTAVO_RETURN_IF_ERROR(
        RoundCandidate(scheme_, group_, candidate, count, product_.pool(), errors_.data()));
    return gram.Forms({errors_.data(), count, size, size}, product_, forms_);
  }

  const Scheme& scheme_;
  TargetModule group_;  // the module as if it had one group
  MatrixProduct& product_;
  std::vector<float> errors_;
  std::vector<double> forms_;
};

// The diagonal block of the Gram matrix of x / scale.
std::vector<float> GroupGram(const InputStatistics& input, const std::vector<float>* scale,
                             int64_t begin, int64_t size) {
  std::vector<float> block(static_cast<size_t>(size * size));
  const auto inverse = [&](int64_t i) {
    return scale == nullptr ? 1.0f : 1.0f / (*scale)[static_cast<size_t>(begin + i)];
  };
  for (int64_t row = 0; row < size; ++row) {
    for (int64_t col = 0; col < size; ++col) {
      block[static_cast<size_t>(row * size + col)] =
          input.Gram().Row(begin + row)[begin + col] * inverse(row) * inverse(col);
    }
  }
  return block;
}

}  // namespace

Result<AwqScales> SearchAwqScales(const Checkpoint& checkpoint, const LayerModules& layer,
                                  const LayerSite& site, const LayerInputs& inputs, const ScaleError& error) {
  const int64_t k = layer.modules[site.consumers.front()].tensor->cols();
  const std::vector<double> x = MeanAbs(layer, site, inputs, static_cast<size_t>(k));
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<double> w,
                          MeanRelativeWeight(checkpoint, Voters(layer, site, inputs), k));
  AwqScales best{.scales = std::vector<float>(static_cast<size_t>(k), 1.0f)};
  OCTAVO_ASSIGN_OR_RETURN(const double plain, error(best.scales));
  double least = std::isfinite(plain) ? plain : std::numeric_limits<double>::infinity();
  for (const bool duo_scaling : {false, true}) {
    double family_least = std::numeric_limits<double>::infinity();
    for (int i = duo_scaling ? 0 : 1; i < kRatios; ++i) {
      const double ratio = i * kRatioStep;
      std::vector<float> scales = ScalesOf(x, duo_scaling ? w : std::vector<double>(), ratio);
      OCTAVO_ASSIGN_OR_RETURN(const double found, error(scales));
      if (!(found < kHopeless * family_least)) break;
      family_least = std::min(family_least, found);
      if (!(found < least)) continue;
      least = found;
      best = {.scales = std::move(scales), .ratio = ratio, .duo_scaling = duo_scaling};
    }
  }
  best.error = plain > 0 ? least / plain : 1;
  return best;
}

Result<WeightClip> SearchAwqClip(const Checkpoint& checkpoint, const LayerModule& module,
                                 const LayerTransform& transform, const InputStatistics& input,
                                 MatrixProduct& product) {
  const TargetModule& target = *module.planned->module;
  const bool grouped = target.args.weights.strategy == Strategy::kGroup;
  const int64_t size = grouped ? target.args.weights.group_size : target.k;
  const int64_t groups = target.k / size;
  WeightClip clip{.group_size = size, .limits = {}};
  clip.limits.resize(static_cast<size_t>(target.n * groups));
  std::vector<SearchGram> grams;
  for (int64_t group = 0; group < groups; ++group) {
    const std::vector<float> block =
        GroupGram(input, transform.ColumnScale(module.name), group * size, size);
    OCTAVO_ASSIGN_OR_RETURN(SearchGram packed,
                            SearchGram::Pack({block.data(), size, size, size}, product));
    grams.push_back(std::move(packed));
  }
  GroupClipper clipper(module.scheme(), target, product);
  const TransformedModule weight(checkpoint, transform, module.name, *module.tensor);
  std::vector<float> rows(static_cast<size_t>(std::min(kClipRows, target.n) * target.k));
  for (int64_t begin = 0; begin < target.n; begin += kClipRows) {
    const int64_t count = std::min(kClipRows, target.n - begin);
    OCTAVO_RETURN_IF_ERROR(weight.Read(begin, count, RowStage::kScaled, rows.data()));
    for (int64_t group = 0; group < groups; ++group) {
      OCTAVO_RETURN_IF_ERROR(clipper.Search(rows.data(), count, target.k, group,
                                            grams[static_cast<size_t>(group)],
                                            clip.limits.data() + begin * groups + group));
    }
  }
  return clip;
}

}  // namespace octavo
