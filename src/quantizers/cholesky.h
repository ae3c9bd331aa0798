// SPDX-License-Identifier: Apache-2.0
// Cholesky factorization without square roots, blocked so that nearly all work is GEMM.
#pragma once

#include <cstdint>

#include "octavo/status.h"
#include "quantizers/matrix_product.h"

namespace octavo {

// Replaces the lower triangle of the symmetric matrix A = M D M^T, D diagonal, by the unit lower
// triangle M; of `a` [k, k] only the lower triangle is read, and what stands above the diagonal
// afterwards means nothing. Returns false, with `a` destroyed, where A is not positive definite to
// working precision (or holds NaN).
// Cost: k^3 / 3 flops. Memory: one packed operand of at most 128 k floats beside `a`.
Result<bool> FactorUnitCholesky(float* a, int64_t k, MatrixProduct& product);

}  // namespace octavo
