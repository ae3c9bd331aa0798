// SPDX-License-Identifier: Apache-2.0
// Rounding in blocks of rows, quadratic forms by GEMM.
#include "quantizers/search_error.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "kernels/elementwise/elementwise.h"
#include "quantizers/output_error.h"

namespace octavo {
namespace {

constexpr int64_t kRoundRows = 16;

}  // namespace

Result<SearchGram> SearchGram::Pack(const MatrixRef& gram, MatrixProduct& product) {
  const bool bf16 = product.isa() >= IsaLevel::kAvx512Bf16;
  OCTAVO_ASSIGN_OR_RETURN(
      PackedWeight packed,
      product.Pack({.b = gram, .format = bf16 ? ActivationFormat::kBf16 : ActivationFormat::kF32}));
  return SearchGram(std::move(packed));
}

Status SearchGram::Forms(const MatrixRef& a, MatrixProduct& product, std::vector<double>& forms) const {
  std::vector<float> products(static_cast<size_t>(a.rows * gram_.n()));
  OCTAVO_RETURN_IF_ERROR(product.Multiply(a, gram_, products.data(), gram_.n(), false));
  forms.assign(static_cast<size_t>(a.rows), 0.0);
  AddRowDots(a, 0, products.data(), gram_.n(), product.pool(), forms);
  return Status::Ok();
}

void AddRowDots(const MatrixRef& a, int64_t first_col, const float* b, int64_t cols, ThreadPool& pool,
                std::vector<double>& dots) {
  const ElementwiseOps& ops = ActiveElementwiseOps();
  pool.ParallelFor(a.rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      dots[static_cast<size_t>(row)] += ops.dot(a.Row(row) + first_col, b + row * cols, cols);
    }
  });
}

Status RoundCandidate(const Scheme& scheme, const TargetModule& module, const Candidate& candidate,
                      int64_t count, ThreadPool& pool, float* errors) {
  std::mutex mutex;
  Status status;
  pool.ParallelFor(count, kRoundRows, [&](int64_t begin, int64_t end, int) {
    std::vector<float> x(static_cast<size_t>(kRoundRows * module.k));
    QuantizedRows rows;
    for (int64_t first = begin; first < end; first += kRoundRows) {
      const int64_t block = std::min(kRoundRows, end - first);
      for (int64_t i = 0; i < block; ++i) candidate.read(first + i, x.data() + i * module.k);
      Status failed = scheme.quantize(module, x.data(), 0, block, rows);
      if (!failed.ok()) {
        const std::lock_guard lock(mutex);
        status = std::move(failed);
        return;
      }
      float* to = errors + first * module.k;
      Dequantize(scheme, module, rows, to);
      for (int64_t i = 0; i < block; ++i) candidate.error(first + i, to + i * module.k);
    }
  });
  return status;
}

}  // namespace octavo
