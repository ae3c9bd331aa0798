// SPDX-License-Identifier: Apache-2.0
// Left-looking blocked Cholesky, then a recursive inverse of the triangle.
#include "quantizers/triangular_inverse.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace octavo {
namespace {

constexpr int64_t kBlock = 256;

// Diagonal blocks are factored and inverted in f64: their errors spread into everything below.
class DiagonalBlock {
 public:
  // Replaces the lower triangle of a [n, n] by the inverse of its Cholesky factor, zeros above.
  static bool Invert(float* a, int64_t n, int64_t stride) {
    DiagonalBlock block(a, n, stride);
    if (!block.Factor()) return false;
    block.InvertFactor();
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t col = 0; col < n; ++col) {
        a[row * stride + col] = col > row ? 0.0f : static_cast<float>(block.At(row, col));
      }
    }
    return true;
  }

 private:
  DiagonalBlock(const float* a, int64_t n, int64_t stride)
      : n_(n), values_(static_cast<size_t>(n * n)) {
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t col = 0; col <= row; ++col) At(row, col) = static_cast<double>(a[row * stride + col]);
    }
  }

  double& At(int64_t row, int64_t col) { return values_[static_cast<size_t>(row * n_ + col)]; }

  double Dot(int64_t row_a, int64_t row_b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += At(row_a, i) * At(row_b, i);
    return sum;
  }

  bool Factor() {
    for (int64_t row = 0; row < n_; ++row) {
      for (int64_t col = 0; col < row; ++col) {
        At(row, col) = (At(row, col) - Dot(row, col, col)) / At(col, col);
      }
      const double original = At(row, row);
      const double pivot = original - Dot(row, row, row);
      if (!(pivot > 0) || !std::isfinite(pivot)) return false;
      At(row, row) = std::sqrt(pivot);
    }
    return true;
  }

  // Column by column of the inverse, rows from the top.
  void InvertFactor() {
    std::vector<double> column(static_cast<size_t>(n_));
    for (int64_t col = 0; col < n_; ++col) {
      for (int64_t row = col; row < n_; ++row) {
        double sum = row == col ? 1.0 : 0.0;
        for (int64_t i = col; i < row; ++i) sum -= At(row, i) * column[static_cast<size_t>(i)];
        column[static_cast<size_t>(row)] = sum / At(row, row);
      }
      for (int64_t row = col; row < n_; ++row) inverse_.push_back(column[static_cast<size_t>(row)]);
    }
    size_t next = 0;
    for (int64_t col = 0; col < n_; ++col) {
      for (int64_t row = col; row < n_; ++row) At(row, col) = inverse_[next++];
    }
  }

  int64_t n_;
  std::vector<double> values_;
  std::vector<double> inverse_;  // columns below the diagonal, one after the other
};

// Leaves L below the diagonal blocks and their inverses in place of the blocks themselves, which
// nothing else needs.
Result<bool> Factor(float* a, int64_t k, MatrixProduct& product) {
  for (int64_t begin = 0; begin < k; begin += kBlock) {
    const int64_t width = std::min(kBlock, k - begin);
    float* diagonal = a + begin * k + begin;
    if (begin > 0) {
      const MatrixRef left{a + begin * k, k - begin, begin, k};
      OCTAVO_ASSIGN_OR_RETURN(
          const PackedWeight top,
          product.Pack({a + begin * k, width, begin, k}, /*transposed=*/false, -1.0f));
      OCTAVO_RETURN_IF_ERROR(product.Multiply(left, top, diagonal, k, /*accumulate=*/true));
    }
    if (!DiagonalBlock::Invert(diagonal, width, k)) return false;
    const int64_t below = begin + width;
    if (below == k) break;
    OCTAVO_ASSIGN_OR_RETURN(const PackedWeight inverse,
                            product.Pack({diagonal, width, width, k}, /*transposed=*/false, 1.0f));
    float* panel = a + below * k + begin;
    OCTAVO_RETURN_IF_ERROR(
        product.Multiply({panel, k - below, width, k}, inverse, panel, k, /*accumulate=*/false));
  }
  return true;
}

// [A 0; B C]^-1 = [A^-1 0; -C^-1 B A^-1  C^-1] for the square of blocks [begin, end).
Status InvertTriangle(float* a, int64_t k, int64_t begin, int64_t end, MatrixProduct& product) {
  if (end - begin <= kBlock) return Status::Ok();
  const int64_t blocks = (end - begin + kBlock - 1) / kBlock;
  const int64_t middle = begin + (blocks + 1) / 2 * kBlock;
  OCTAVO_RETURN_IF_ERROR(InvertTriangle(a, k, begin, middle, product));
  OCTAVO_RETURN_IF_ERROR(InvertTriangle(a, k, middle, end, product));
  const int64_t upper = middle - begin;
  const int64_t lower = end - middle;
  float* b = a + middle * k + begin;
  {
    OCTAVO_ASSIGN_OR_RETURN(
        const PackedWeight right,
        product.Pack({a + begin * k + begin, upper, upper, k}, /*transposed=*/true, 1.0f));
    OCTAVO_RETURN_IF_ERROR(product.Multiply({b, lower, upper, k}, right, b, k, false));
  }
  OCTAVO_ASSIGN_OR_RETURN(const PackedWeight right,
                          product.Pack({b, lower, upper, k}, /*transposed=*/true, -1.0f));
  return product.Multiply({a + middle * k + middle, lower, lower, k}, right, b, k, false);
}

}  // namespace

Result<bool> InvertCholesky(float* a, int64_t k, MatrixProduct& product) {
  OCTAVO_ASSIGN_OR_RETURN(const bool positive, Factor(a, k, product));
  if (!positive) return false;
  for (int64_t row = 0; row < k; ++row) std::fill(a + row * k + row + 1, a + (row + 1) * k, 0.0f);
  OCTAVO_RETURN_IF_ERROR(InvertTriangle(a, k, 0, k, product));
  return true;
}

}  // namespace octavo
