// SPDX-License-Identifier: Apache-2.0
// Convex hulls and the walk along their edges.
#include "quantizers/bit_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "quantizers/calibration_algorithm.h"

namespace octavo {
namespace {

// Sums of bits are exact, but divisions by the number of weights are not.
constexpr double kSlack = 1 + 1e-12;

// Divergence saved per bit on the way from candidate a to b.
double Slope(const SensitivityUnit& unit, int a, int b) {
  const auto from = static_cast<size_t>(a);
  const auto to = static_cast<size_t>(b);
  return (unit.kl[from] - unit.kl[to]) / (unit.bits[to] - unit.bits[from]);
}

// Candidates of a unit on the lower convex hull of (bits, kl), from few bits to many.
std::vector<int> Hull(const SensitivityUnit& unit) {
  std::vector<int> order(unit.bits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    const auto i = static_cast<size_t>(a);
    const auto j = static_cast<size_t>(b);
    return std::pair(unit.bits[i], unit.kl[i]) < std::pair(unit.bits[j], unit.kl[j]);
  });
  std::vector<int> hull;
  for (const int next : order) {
    const auto at = static_cast<size_t>(next);
    if (!hull.empty() && unit.kl[at] >= unit.kl[static_cast<size_t>(hull.back())]) continue;
    while (hull.size() >= 2 &&
           Slope(unit, hull.back(), next) >= Slope(unit, hull[hull.size() - 2], hull.back())) {
      hull.pop_back();
    }
    hull.push_back(next);
  }
  return hull;
}

}  // namespace

BitBudget::BitBudget(const Sensitivity& sensitivity) : sensitivity_(sensitivity) {
  for (size_t i = 0; i < sensitivity.units.size(); ++i) {
    const SensitivityUnit& unit = sensitivity.units[i];
    const std::vector<int> hull = Hull(unit);
    smallest_.push_back(hull.front());
    for (size_t j = 1; j < hull.size(); ++j) {
      const auto from = static_cast<size_t>(hull[j - 1]);
      const auto to = static_cast<size_t>(hull[j]);
      steps_.push_back({.unit = i,
                        .from = hull[j - 1],
                        .to = hull[j],
                        .rank = j,
                        .bits = unit.bits[to] - unit.bits[from],
                        .saved = Slope(unit, hull[j - 1], hull[j])});
    }
  }
  // Hulls are convex, so a unit's steps keep their order.
  std::sort(steps_.begin(), steps_.end(), [](const Step& a, const Step& b) {
    return std::tuple(-a.saved, a.unit, a.rank) < std::tuple(-b.saved, b.unit, b.rank);
  });
}

BudgetPoint BitBudget::PointOf(std::vector<int> choice) const {
  BudgetPoint point;
  for (size_t i = 0; i < choice.size(); ++i) {
    point.bits_per_weight += sensitivity_.units[i].bits[static_cast<size_t>(choice[i])];
    point.kl += sensitivity_.units[i].kl[static_cast<size_t>(choice[i])];
  }
  point.bits_per_weight /= sensitivity_.weights();
  point.choice = std::move(choice);
  return point;
}

BudgetPoint BitBudget::At(size_t index) const {
  std::vector<int> choice = smallest_;
  for (size_t i = 0; i < index; ++i) choice[steps_[i].unit] = steps_[i].to;
  return PointOf(std::move(choice));
}

BudgetPoint BitBudget::Uniform(int candidate) const {
  return PointOf(std::vector<int>(sensitivity_.units.size(), candidate));
}

Result<BudgetPoint> BitBudget::ForBits(double bits_per_weight) const {
  const BudgetPoint smallest = At(0);
  if (smallest.bits_per_weight > bits_per_weight * kSlack) {
    return InvalidArgument(fmt::format(
        "{} bits per weight: the smallest choice of these candidates has {:.3f}", bits_per_weight,
        smallest.bits_per_weight));
  }
  double left = (bits_per_weight * kSlack - smallest.bits_per_weight) * sensitivity_.weights();
  std::vector<int> choice = smallest_;
  for (const Step& step : steps_) {
    if (choice[step.unit] != step.from || step.bits > left) continue;
    choice[step.unit] = step.to;
    left -= step.bits;
  }
  return PointOf(std::move(choice));
}

Result<BudgetPoint> BitBudget::ForKl(double kl) const {
  for (size_t i = 0; i < size(); ++i) {
    BudgetPoint point = At(i);
    if (point.kl <= kl) return point;
  }
  return InvalidArgument(fmt::format(
      "a KL divergence of {} nats: the best choice of these candidates has {:.4g}; add a finer one "
      "(--candidates ..., BF16)",
      kl, At(size() - 1).kl));
}

QuantizeRecipe RecipeOf(const Sensitivity& sensitivity, const BudgetPoint& point,
                        const RecipeGroup& settings) {
  QuantizeRecipe recipe;
  const CalibrationAlgorithm* algorithm = FindCalibrationAlgorithm(settings.algorithm);
  for (size_t candidate = 0; candidate < sensitivity.candidates.size(); ++candidate) {
    RecipeGroup group = settings;
    group.scheme = sensitivity.candidates[candidate];
    group.name = "candidate " + group.scheme;
    group.group_size = sensitivity.group_sizes[candidate];
    group.targets.clear();
    for (size_t i = 0; i < sensitivity.units.size(); ++i) {
      if (point.choice[i] != static_cast<int>(candidate)) continue;
      const auto& modules = sensitivity.units[i].modules;
      group.targets.insert(group.targets.end(), modules.begin(), modules.end());
    }
    const Scheme* scheme = FindScheme(group.scheme);
    if (group.targets.empty() || scheme == &kScheme_dense) continue;  // what no group takes is dense
    if (algorithm != nullptr && !algorithm->Accepts(*scheme).ok()) {
      group.algorithm = std::string(kRoundToNearest);
    }
    recipe.groups.push_back(std::move(group));
  }
  return recipe;
}

}  // namespace octavo
