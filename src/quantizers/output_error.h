// SPDX-License-Identifier: Apache-2.0
// What rounding a weight does to a layer's output, measured through the Gram matrix of its inputs:
// |X dW^T|^2 = trace(dW G dW^T), so no input has to be kept.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "octavo/status.h"
#include "quantizers/matrix_product.h"
#include "schemes/scheme.h"

namespace octavo {

// Values of quantized rows. Takes the rows' memory.
void Dequantize(const Scheme& scheme, const TargetModule& module, QuantizedRows& rows, float* out);

// Sums from which a module's relative output error and the cosine of both outputs follow.
struct OutputError {
  double signal = 0;  // |X W^T|^2
  double error = 0;   // |X (W' - W)^T|^2
  double cross = 0;   // <X W^T, X (W' - W)^T>

  double relative_error() const;  // |error| / |signal|, a ratio of norms
  double cosine() const;
};

// Adds rows: `original` and `quantized`, both [count, k], in the scale of the inputs.
Status AddOutputError(const float* original, const float* quantized, int64_t count,
                      const MatrixRef& gram, MatrixProduct& product, OutputError& error);

// Mean over rows [size] of |x - original|^2 / |original|^2, in f64; rows of zeros count as right.
double MeanRelativeError(std::span<const float> x, std::span<const float> original, size_t size);

}  // namespace octavo
