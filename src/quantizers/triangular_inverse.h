// SPDX-License-Identifier: Apache-2.0
// Cholesky factorization and inversion of the factor, blocked so that nearly all work is GEMM.
#pragma once

#include <cstdint>

#include "octavo/status.h"
#include "quantizers/matrix_product.h"

namespace octavo {

// Replaces the symmetric matrix A = L L^T, of which the lower triangle of `a` [k, k] is read, by
// L^-1; the upper triangle becomes zero. Returns false, with `a` destroyed, where A is not positive
// definite to working precision (or holds NaN).
// Cost: k^3 flops. Memory: one packed operand of at most k^2 / 4 floats beside `a`.
Result<bool> InvertCholesky(float* a, int64_t k, MatrixProduct& product);

}  // namespace octavo
