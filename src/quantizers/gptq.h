// SPDX-License-Identifier: Apache-2.0
// GPTQ: rounds one column after the other and lets the columns that follow make up for its error.
//
// Source: arXiv:2210.17323, algorithm 1 and section 3.3, with llm-compressor's settings: act-order
// with static groups (columns in order of falling diag H; scales come from the original weights, so a
// group's columns stay together in the file).
// Differs: the paper walks the rows of the upper Cholesky factor of H^-1 and pushes each column's error into
// the columns that follow. The same codes come from H = M D M^T itself, M unit lower triangular, columns in
// reverse (Babai's nearest plane algorithm, arXiv:2507.18553): column j is rounded at
// w_j + sum over i > j of (w_i - q_i) M_ij, so one factorization takes the place of an inverse and two.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "octavo/status.h"
#include "quantizers/input_statistics.h"
#include "schemes/scheme.h"

namespace octavo {

// Ten times the paper's: with few tokens for the columns of H it follows their noise (docs/quantization.md).
inline constexpr double kDefaultDamping = 0.1;

struct GptqOptions {
  double damping = kDefaultDamping;  // times mean(diag H), added to the diagonal
  bool act_order = true;
};

// What quantizing the matrices that share an input needs of it.
struct GptqFactor {
  int64_t k = 0;
  std::vector<int32_t> order;  // [k], position -> column; positions are rounded from last to first
  std::vector<bool> dead;      // [k], by column: inputs that are always zero
  AlignedBuffer unit_lower;    // [k, k], M in order of position; nothing reads above its diagonal
  double damping = 0;          // the share that made H positive definite

  MatrixRef UnitLower() const { return {unit_lower.As<float>(), k, k, k}; }
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
