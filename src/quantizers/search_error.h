// SPDX-License-Identifier: Apache-2.0
// What many candidates of a search do to a layer's output: |X dW^T|^2 of every row of dW, by way of the
// Gram matrix of the inputs.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "octavo/status.h"
#include "quantizers/matrix_product.h"
#include "schemes/scheme.h"

namespace octavo {

// The Gram matrix of a search's inputs, packed once for all candidates. From level avx512_bf16 on it is
// rounded to bf16, and so are the errors it is multiplied with: products are some ten times as fast, and
// what that changes in a row's error is about 2^-9 of it, while neighbours on a grid differ by percents.
class SearchGram {
 public:
  static Result<SearchGram> Pack(const MatrixRef& gram, MatrixProduct& product);

  // forms[i] = sum over j, l of a[i][j] * gram[j][l] * a[i][l], for rows a [rows, k].
  Status Forms(const MatrixRef& a, MatrixProduct& product, std::vector<double>& forms) const;

 private:
  explicit SearchGram(PackedWeight gram) : gram_(std::move(gram)) {}

  PackedWeight gram_;
};

// dots[i] += sum over `cols` columns of a[i][first_col + j] * b[i][j]; b is [a.rows, cols].
void AddRowDots(const MatrixRef& a, int64_t first_col, const float* b, int64_t cols, ThreadPool& pool,
                std::vector<double>& dots);

// A candidate: how rows of k weights go into rounding, and what their errors are.
struct Candidate {
  std::function<void(int64_t row, float* x)> read;        // fills x with the weights to round
  std::function<void(int64_t row, float* values)> error;  // turns what the codes stand for into errors
};

// errors [count, k] of rounding to nearest, in parallel blocks of rows: both functions are called from
// several threads. For schemes whose scales belong to single rows; `module` need not be the whole matrix
// (n is ignored). Errors: those of Scheme::quantize.
Status RoundCandidate(const Scheme& scheme, const TargetModule& module, const Candidate& candidate,
                      int64_t count, ThreadPool& pool, float* errors);

}  // namespace octavo
