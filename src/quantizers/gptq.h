// SPDX-License-Identifier: Apache-2.0
// GPTQ: rounds one column after the other and lets the columns that follow make up for its error.
//
// Source: arXiv:2210.17323, algorithm 1 and section 3.3, with llm-compressor's settings: act-order
// with static groups (columns in order of falling diag H; scales come from the original weights, so a
// group's columns stay together in the file).
// Differs: the paper walks the rows of U, the upper Cholesky factor of H^-1. U is the mirror image of
// L^-1 for the Cholesky factor L of H with both axes reversed, so one factorization and one triangular
// inverse take the place of two factorizations and an inverse; columns run from last to first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "octavo/status.h"
#include "quantizers/input_statistics.h"
#include "schemes/scheme.h"

namespace octavo {

struct GptqOptions {
  double damping = 0.01;  // times mean(diag H), added to the diagonal
  bool act_order = true;
};

// What quantizing the matrices that share an input needs of it.
struct GptqFactor {
  int64_t k = 0;
  std::vector<int32_t> order;  // [k], position -> column; positions are rounded from last to first
  std::vector<bool> dead;      // [k], by column: inputs that are always zero
  AlignedBuffer inverse;       // [k, k], L^-1 in order of position, lower triangle
  double damping = 0;          // the share that made H positive definite

  MatrixRef Inverse() const { return {inverse.As<float>(), k, k, k}; }
};

// `input_scale` [k] or empty: the inputs are x / input_scale (after smoothing).
// Damping is raised tenfold, up to 1, while H is not positive definite.
// Errors: FailedPrecondition where even that does not help; ResourceExhausted.
Result<GptqFactor> FactorHessian(const InputStatistics& input, const std::vector<float>& input_scale,
                                 const GptqOptions& options, MatrixProduct& product);

// Rows [row_begin, row_begin + count) of a module. Dead columns are set to zero in both matrices.
struct GptqRows {
  float* x = nullptr;        // [count, k], what is approximated
  float* clipped = nullptr;  // [count, k], what scales and zero points are made for; null: x
  int64_t row_begin = 0;
  int64_t count = 0;
};

// Chooses the codes of a module's rows under an integer scheme. Scales and zero points are round to
// nearest's; QoQ's two levels included, whose codes stay within int8.
// Errors: those of Scheme::quantize.
Status QuantizeGptq(const Scheme& scheme, const TargetModule& module, const GptqFactor& factor,
                    const GptqRows& block, MatrixProduct& product, QuantizedRows& rows);

}  // namespace octavo
