// SPDX-License-Identifier: Apache-2.0
// Left-looking, in blocks of columns: A = L L^T, whose columns are divided by the diagonal in the end.
#include "quantizers/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace octavo {
namespace {

constexpr int64_t kBlock = 128;

// Diagonal blocks are factored and inverted in f64: their errors spread into everything below. Rows are
// the inner loops throughout, so that compilers use SIMD without reordering sums.
class DiagonalBlock {
 public:
  // The lower triangle of a [n, n].
  DiagonalBlock(const float* a, int64_t n, int64_t stride)
      : n_(n), upper_(static_cast<size_t>(n * n)) {
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t col = 0; col <= row; ++col) upper_[At(col, row)] = static_cast<double>(a[row * stride + col]);
    }
  }

  // A = U^T U, so U = L^T. False where A is not positive definite.
  bool Factor() {
    for (int64_t p = 0; p < n_; ++p) {
      double* pivots = upper_.data() + At(p, 0);
      if (!(pivots[p] > 0) || !std::isfinite(pivots[p])) return false;
      const double root = std::sqrt(pivots[p]);
      for (int64_t col = p; col < n_; ++col) pivots[col] /= root;
      for (int64_t row = p + 1; row < n_; ++row) {
        double* rest = upper_.data() + At(row, 0);
        const double factor = pivots[row];
        for (int64_t col = row; col < n_; ++col) rest[col] -= factor * pivots[col];
      }
    }
    return true;
  }

  // L over the lower triangle of a.
  void StoreFactor(float* a, int64_t stride) const {
    for (int64_t row = 0; row < n_; ++row) {
      for (int64_t col = 0; col <= row; ++col) a[row * stride + col] = static_cast<float>(upper_[At(col, row)]);
    }
  }

  // L^-1 [n, n], zeros above the diagonal.
  std::vector<float> InverseFactor() const {
    std::vector<double> inverse(upper_.size());
    for (int64_t row = 0; row < n_; ++row) {
      double* of_row = inverse.data() + At(row, 0);
      of_row[row] = 1;
      for (int64_t above = 0; above < row; ++above) {
        const double* from = inverse.data() + At(above, 0);
        const double factor = upper_[At(above, row)];
        for (int64_t col = 0; col <= above; ++col) of_row[col] -= factor * from[col];
      }
      const double diagonal = upper_[At(row, row)];
      for (int64_t col = 0; col <= row; ++col) of_row[col] /= diagonal;
    }
    return {inverse.begin(), inverse.end()};
  }

 private:
  size_t At(int64_t row, int64_t col) const { return static_cast<size_t>(row * n_ + col); }

  int64_t n_;
  std::vector<double> upper_;  // zeros below the diagonal
};

// L in place of the lower triangle of A.
Result<bool> Factor(float* a, int64_t k, MatrixProduct& product) {
  for (int64_t begin = 0; begin < k; begin += kBlock) {
    const int64_t width = std::min(kBlock, k - begin);
    float* diagonal = a + begin * k + begin;
    if (begin > 0) {
      // The upper triangle of the diagonal block changes as well; it is not read again.
      const MatrixRef left{a + begin * k, k - begin, begin, k};
      OCTAVO_RETURN_IF_ERROR(product.Multiply(
          left, {.b = {a + begin * k, width, begin, k}, .factor = -1.0f}, diagonal, k, /*accumulate=*/true));
    }
    DiagonalBlock block(diagonal, width, k);
    if (!block.Factor()) return false;
    block.StoreFactor(diagonal, k);
    const int64_t below = begin + width;
    if (below == k) break;
    const std::vector<float> inverse = block.InverseFactor();
    float* panel = a + below * k + begin;
    OCTAVO_RETURN_IF_ERROR(product.Multiply({panel, k - below, width, k},
                                            {.b = {inverse.data(), width, width, width}}, panel, k,
                                            /*accumulate=*/false));
  }
  return true;
}

}  // namespace

Result<bool> FactorUnitCholesky(float* a, int64_t k, MatrixProduct& product) {
  OCTAVO_ASSIGN_OR_RETURN(const bool positive, Factor(a, k, product));
  if (!positive) return false;
  std::vector<float> reciprocal(static_cast<size_t>(k));
  for (int64_t i = 0; i < k; ++i) reciprocal[static_cast<size_t>(i)] = 1.0f / a[i * k + i];
  product.pool().ParallelFor(k, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t col = 0; col < row; ++col) a[row * k + col] *= reciprocal[static_cast<size_t>(col)];
      a[row * k + row] = 1;
    }
  });
  return true;
}

}  // namespace octavo
