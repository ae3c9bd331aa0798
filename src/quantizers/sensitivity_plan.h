// SPDX-License-Identifier: Apache-2.0
// What is measured: the units of a model and what becomes of their modules under each candidate.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "io/checkpoint.h"
#include "models/model.h"
#include "octavo/status.h"
#include "quantizers/quantize_plan.h"
#include "quantizers/sensitivity.h"

namespace octavo {

class SensitivityPlan {
 public:
  // `checkpoint` must outlive the plan. Errors: as SensitivityMeter::Create.
  static Result<SensitivityPlan> Create(const SensitivityOptions& options,
                                        const Checkpoint& checkpoint, const ModelArch& arch,
                                        const ModelConfig& config);

  // Candidates, group sizes, and units with their bits.
  void FillIn(Sensitivity& sensitivity) const { sensitivity = sensitivity_; }

  size_t size() const { return plans_.size(); }  // candidates
  bool dense(size_t candidate) const { return plans_[candidate].shards.empty(); }

  // nullptr for candidates that leave the module as it is.
  const PlannedTensor* Find(size_t candidate, const std::string& module) const;

  // Whether a unit's divergence is measured; it is scaled from one that is otherwise.
  bool IsMeasured(const SensitivityUnit& unit, size_t candidate) const;

 private:
  Status MakePlans(const SensitivityOptions& options, const Checkpoint& checkpoint);
  Status MakeUnits(const Checkpoint& checkpoint, const ModelArch& arch, const ModelConfig& config);
  void AddBits(size_t candidate);

  std::vector<QuantizePlan> plans_;  // by candidate; without shards: dense
  std::map<std::pair<size_t, std::string>, const PlannedTensor*> planned_;
  Sensitivity sensitivity_;
};

}  // namespace octavo
