// SPDX-License-Identifier: Apache-2.0
// Normalization that produces activations: each row is normalized in cache and encoded at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layers/step.h"

namespace octavo {

// RMSNorm (no bias, no mean) or LayerNorm over the last dimension.
class Norm {
 public:
  enum class Kind : uint8_t { kRms, kLayer };

  // `weight` [size] (ones where the family has no affine norm); `bias` [size] or empty.
  Norm(Kind kind, std::vector<float> weight, std::vector<float> bias, float eps)
      : kind_(kind), weight_(std::move(weight)), bias_(std::move(bias)), eps_(eps) {}

  int64_t size() const { return static_cast<int64_t>(weight_.size()); }

  // y = norm(x), one row of size() floats; y may be x.
  void Row(IsaLevel isa, const float* x, float* y) const;

  // Normalizes `num_rows` rows of `x` and encodes them into step.ws.activations() in `formats`.
  void Produce(Step& step, ArenaMatrix x, int64_t num_rows,
               std::span<const ActivationSpec> formats) const;

  // The same for chosen rows of `x`, which become rows 0, 1, ... of the activations.
  void ProduceRows(Step& step, ArenaMatrix x, std::span<const int64_t> rows,
                   std::span<const ActivationSpec> formats) const;

  // Normalizes the first `num_rows` rows of `x` where they are.
  void InPlace(Step& step, ArenaMatrix x, int64_t num_rows) const;

 private:
  Kind kind_;
  std::vector<float> weight_;
  std::vector<float> bias_;
  float eps_;
};

// Encodes f32 rows as they are (attention output, hidden states without a norm).
void ProduceActivations(Step& step, ArenaMatrix x, int64_t num_rows, int64_t cols,
                        std::span<const ActivationSpec> formats);
void ProduceActivationRows(Step& step, ArenaMatrix x, std::span<const int64_t> rows, int64_t cols,
                           std::span<const ActivationSpec> formats);

}  // namespace octavo
