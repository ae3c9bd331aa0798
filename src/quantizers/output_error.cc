// SPDX-License-Identifier: Apache-2.0
// Quadratic forms by GEMM.
#include "quantizers/output_error.h"

#include <algorithm>
#include <cmath>
#include "quantizers/search_error.h"

namespace octavo {
namespace {

constexpr int64_t kGramRows = 1024;  // packed at a time where a Gram matrix is used once

}  // namespace

void Dequantize(const Scheme& scheme, const TargetModule& module, QuantizedRows& rows, float* out) {
  WeightRows weight_rows;
  const WeightSpec spec = scheme.spec(module);
  scheme.to_weight_rows(module, rows, weight_rows);
  DequantizeWeightRows(spec, weight_rows, DType::kF32, out);
}

double OutputError::relative_error() const { return signal > 0 ? std::sqrt(std::max(error, 0.0) / signal) : 0; }

double OutputError::cosine() const {
  const double quantized = signal + 2 * cross + error;
  return signal > 0 && quantized > 0 ? (signal + cross) / std::sqrt(signal * quantized) : 1;
}

Status AddOutputError(const float* original, const float* quantized, int64_t count,
                      const MatrixRef& gram, MatrixProduct& product, OutputError& error) {
  const int64_t k = gram.cols;
  // Rows of W above rows of W' - W, so that one product serves all three sums.
  std::vector<float> both(static_cast<size_t>(2 * count * k));
  std::copy_n(original, count * k, both.data());
  for (int64_t i = 0; i < count * k; ++i) {
    both[static_cast<size_t>(count * k + i)] = quantized[i] - original[i];
  }
  std::vector<double> own(static_cast<size_t>(2 * count));
  std::vector<double> cross(static_cast<size_t>(count));
  std::vector<float> products(static_cast<size_t>(2 * count * kGramRows));
  const MatrixRef all{both.data(), 2 * count, k, k};
  const MatrixRef differences{both.data() + count * k, count, k, k};
  for (int64_t first = 0; first < k; first += kGramRows) {
    const int64_t cols = std::min(kGramRows, k - first);
    const MatrixRef of_gram{gram.Row(first), cols, k, gram.stride};
    OCTAVO_RETURN_IF_ERROR(product.Multiply(all, {.b = of_gram}, products.data(), cols, false));
    AddRowDots(all, first, products.data(), cols, product.pool(), own);
    AddRowDots(differences, first, products.data(), cols, product.pool(), cross);
  }
  for (int64_t row = 0; row < count; ++row) {
    error.signal += own[static_cast<size_t>(row)];
    error.error += own[static_cast<size_t>(count + row)];
    error.cross += cross[static_cast<size_t>(row)];
  }
  return Status::Ok();
}

double MeanRelativeError(std::span<const float> x, std::span<const float> original, size_t size) {
  double sum = 0;
  for (size_t row = 0; row < x.size(); row += size) {
    double difference = 0;
    double norm = 0;
    for (size_t i = row; i < row + size; ++i) {
      const double d = static_cast<double>(x[i]) - static_cast<double>(original[i]);
      difference += d * d;
      norm += static_cast<double>(original[i]) * static_cast<double>(original[i]);
    }
    sum += norm > 0 ? difference / norm : 0;
  }
  return sum * static_cast<double>(size) / static_cast<double>(x.size());
}

}  // namespace octavo
