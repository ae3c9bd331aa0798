// SPDX-License-Identifier: Apache-2.0
// Chooses a scheme for every unit of a model, so that the whole is as good as it can be at its size.
//
// Minimizes the sum of the units' divergences under a limit on the sum of their bits. Only candidates on
// the lower convex hull of a unit's (bits, divergence) are used; all hulls' edges, sorted by divergence
// saved per bit, are then the solutions of the Lagrangian relaxation for every price of a bit, and
// taking them in order walks along the frontier. Optimal at the frontier's points; between two of them
// the rest of the budget is filled with later edges that fit.
#pragma once

#include <cstddef>
#include <vector>

#include "octavo/status.h"
#include "quantizers/sensitivity.h"

namespace octavo {

struct BudgetPoint {
  double bits_per_weight = 0;
  double kl = 0;             // sum over the units
  std::vector<int> choice;   // candidate by unit
};

class BitBudget {
 public:
  // `sensitivity` must outlive the budget.
  explicit BitBudget(const Sensitivity& sensitivity);

  // The frontier from the smallest choice to the best. Neighbours differ in one unit.
  size_t size() const { return steps_.size() + 1; }
  BudgetPoint At(size_t index) const;

  // All units in one candidate.
  BudgetPoint Uniform(int candidate) const;

  // Errors: InvalidArgument, with the smallest that would do, when no choice is small enough.
  Result<BudgetPoint> ForBits(double bits_per_weight) const;
  // The first point of the frontier whose divergence is at most `kl`.
  // Errors: InvalidArgument when even the best choice is worse.
  Result<BudgetPoint> ForKl(double kl) const;

 private:
  // A unit moves to its next candidate on the hull.
  struct Step {
    size_t unit = 0;
    int from = 0;
    int to = 0;
    size_t rank = 0;   // among the unit's steps
    double bits = 0;   // more
    double saved = 0;  // divergence, per bit
  };
  BudgetPoint PointOf(std::vector<int> choice) const;

  const Sensitivity& sensitivity_;
  std::vector<int> smallest_;
  std::vector<Step> steps_;
};

// The recipe of a choice: one group per candidate in use, with the modules by name. `algorithm` is used
// where it goes with the candidate, round to nearest elsewhere.
QuantizeRecipe RecipeOf(const Sensitivity& sensitivity, const BudgetPoint& point,
                        const RecipeGroup& settings);

}  // namespace octavo
