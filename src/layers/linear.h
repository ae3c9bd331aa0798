// SPDX-License-Identifier: Apache-2.0
// A linear layer: packed weights (possibly several fused along the output), bias and a slot name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/gemm/packed_weight.h"
#include "layers/step.h"

namespace octavo {

// One fused part, for reports: what file tensor it came from and what really runs.
struct LinearPart {
  std::string module;        // "model.layers.0.self_attn.q_proj"
  std::string scheme;        // "W4A16"
  std::string kernel;        // "gemm_w4a16_avx512_bf16"
  std::string note;          // where the run differs from what the checkpoint asks for
  ActivationFormat activation = ActivationFormat::kF32;
  int64_t n = 0;
  int64_t k = 0;
  double stored_bits = 0;    // bits per weight on disk, scales included
  float input_scale = 0;     // stored scale of all its activations; 0: every token has its own
};

class Linear {
 public:
  Linear(std::string slot, PackedWeight weight, std::vector<float> bias,
         std::vector<LinearPart> parts)
      : slot_(std::move(slot)), weight_(std::move(weight)), bias_(std::move(bias)),
        parts_(std::move(parts)) {}

  const std::string& slot() const { return slot_; }  // "model.layers.0.qkv_proj"
  int64_t n() const { return weight_.n(); }
  int64_t k() const { return weight_.k(); }
  const std::vector<LinearPart>& parts() const { return parts_; }
  std::span<const float> bias() const { return bias_; }  // empty or [n]
  size_t packed_bytes() const { return weight_.bytes(); }

  // The activation formats that have to be produced for this layer.
  std::span<const ActivationSpec> inputs() const { return weight_.activations(); }

  // out[m][n] (+)= x[m] * W^T + bias. `x` holds every format of inputs(), with the rows set.
  void Forward(Step& step, const ActivationSet& x, ArenaMatrix out, bool accumulate) const;

  // Shows `x` to the step's tap and multiplies nothing.
  void Observe(Step& step, const ActivationSet& x) const;

 private:
  std::string slot_;
  PackedWeight weight_;
  std::vector<float> bias_;  // empty or [n]
  std::vector<LinearPart> parts_;
};

}  // namespace octavo
