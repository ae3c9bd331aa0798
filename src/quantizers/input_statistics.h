// SPDX-License-Identifier: Apache-2.0
// What calibration remembers of a linear layer's inputs X [num_tokens, k]: never X itself.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/activation.h"
#include "quantizers/matrix_product.h"

namespace octavo {

struct InputStatistics {
  int64_t k = 0;
  int64_t num_tokens = 0;
  std::vector<float> absmax;    // [k], max |x| per channel
  std::vector<double> abs_sum;  // [k], sum |x| per channel
  // [k, k] f32, sum of x x^T (symmetric) over tokens x limited to the observer's norm_limit; empty if not
  // asked for.
  AlignedBuffer gram;

  bool has_gram() const { return gram.size() != 0; }
  MatrixRef Gram() const { return {gram.As<float>(), k, k, k}; }
  float MaxAbs() const;
};

// Adds up the statistics of one input over many batches. Sums run over tokens in order within a
// batch, so the result depends on how tokens are cut into batches but not on threads.
class InputObserver {
 public:
  // In the Gram matrix a token's norm counts up to `norm_limit` times the median norm of its batch (0: in
  // full). Inputs of attention sinks, mostly the first token of a text, can be hundreds of times larger than
  // others: squared, a few of them are all that rounding errors are weighed by (docs/adr/0005).
  // Errors: ResourceExhausted where there is no memory for the Gram matrix.
  static Result<InputObserver> Create(int64_t k, bool with_gram, double norm_limit = 0);

  // `x`: rows in kF32 or kBf16.
  Status Add(const ActivationView& x, MatrixProduct& product);

  // Completes the Gram matrix and hands everything over.
  InputStatistics Take();

 private:
  InputObserver() = default;
  Status AddGram(const ActivationView& x, MatrixProduct& product);

  InputStatistics statistics_;
  float norm_limit_ = 0;
  ActivationBuffer transposed_;  // [k, tokens] in the format of x
};

}  // namespace octavo
