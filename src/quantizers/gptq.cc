// SPDX-License-Identifier: Apache-2.0
// Blocks of 128 columns: inside a block 16 rows at a time, across blocks a GEMM.
#include "quantizers/gptq.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "quantizers/cholesky.h"
#include "schemes/compressed_form.h"

namespace octavo {
namespace {

constexpr int64_t kColumns = 128;  // of a block
constexpr int64_t kRows = 16;      // rounded side by side: one SIMD lane each

// Adding and subtracting it rounds |x| < 2^22 to the nearest integer, ties to even.
constexpr float kRounder = 12582912.0f;

// One module's block of rows on its way through the columns.
class RowBlock {
 public:
  RowBlock(const TargetModule& module, const GptqFactor& factor, int64_t count, QuantizedRows& rows)
      : module_(module), factor_(factor), count_(count), k_(module.k), rows_(rows),
        scale_cols_(ScaleCols(module.args.weights, module.k)),
        weights_(static_cast<size_t>(count * k_)),
        targets_(weights_.size()),
        errors_(static_cast<size_t>(count * kColumns)) {}

  Status Run(const float* x, MatrixProduct& product) {
    Permute(x, product.pool());
    const int64_t blocks = (k_ + kColumns - 1) / kColumns;
    for (int64_t block = blocks - 1; block >= 0; --block) {
      const int64_t begin = block * kColumns;
      const int64_t width = std::min(kColumns, k_ - begin);
      const int64_t tiles = (count_ + kRows - 1) / kRows;
      product.pool().ParallelFor(tiles, 1, [&](int64_t first, int64_t last, int) {
        for (int64_t tile = first; tile < last; ++tile) RoundTile(tile * kRows, begin, width);
      });
      if (begin == 0) break;
      // targets[:, 0..begin) += E * M[block, 0..begin)
      const MatrixRef spread{factor_.UnitLower().Row(begin), width, begin, k_};
      OCTAVO_RETURN_IF_ERROR(product.Multiply({errors_.data(), count_, width, kColumns},
                                              {.b = spread, .transposed = true}, targets_.data(), k_,
                                              /*accumulate=*/true));
    }
    return Status::Ok();
  }

 private:
  void Permute(const float* x, ThreadPool& pool) {
    pool.ParallelFor(count_, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t row = first; row < last; ++row) {
        float* to = weights_.data() + row * k_;
        for (int64_t i = 0; i < k_; ++i) to[i] = x[row * k_ + factor_.order[static_cast<size_t>(i)]];
        std::copy_n(to, k_, targets_.data() + row * k_);
      }
    });
  }

  // Rounds the columns [begin, begin + width) of up to kRows rows, and adds what each column's error asks of the
  // columns of the block that are still to come.
  void RoundTile(int64_t row_begin, int64_t begin, int64_t width) {
    const int64_t count = std::min(kRows, count_ - row_begin);
    alignas(64) float targets[kColumns][kRows] = {};
    alignas(64) float errors[kColumns][kRows] = {};  // the weights until they are rounded
    for (int64_t row = 0; row < count; ++row) {
      const int64_t at = (row_begin + row) * k_ + begin;
      for (int64_t c = 0; c < width; ++c) {
        targets[c][row] = targets_[static_cast<size_t>(at + c)];
        errors[c][row] = weights_[static_cast<size_t>(at + c)];
      }
    }
    for (int64_t c = width - 1; c >= 0; --c) {
      RoundColumn(row_begin, count, begin + c, targets[c], errors[c]);
      const float* spread = factor_.UnitLower().Row(begin + c) + begin;
      for (int64_t j = 0; j < c; ++j) {
        const float factor = spread[j];
        for (int64_t row = 0; row < kRows; ++row) targets[j][row] += errors[c][row] * factor;
      }
    }
    for (int64_t row = 0; row < count; ++row) {
      float* to = errors_.data() + (row_begin + row) * kColumns;
      for (int64_t c = 0; c < width; ++c) to[c] = errors[c][row];
    }
  }

  // What the codes of one column of a tile decode with: (q - zero) * step * scale, q in [min, max].
  struct alignas(64) ColumnSteps {
    float scale[kRows], step[kRows], zero[kRows], min[kRows], max[kRows];
  };

  void FillSteps(int64_t row_begin, int64_t count, int64_t group, ColumnSteps& steps) const {
    const int bits = module_.args.weights.num_bits;
    const bool two_level = !rows_.scales2.empty();
    const float low = two_level ? 0.0f : static_cast<float>(-(1 << (bits - 1)));
    std::fill_n(steps.scale, kRows, 1.0f);
    std::fill_n(steps.step, kRows, 1.0f);
    std::fill_n(steps.zero, kRows, 0.0f);
    std::fill_n(steps.min, kRows, low);
    std::fill_n(steps.max, kRows, low + static_cast<float>((1 << bits) - 1));
    for (int64_t row = 0; row < count; ++row) {
      const auto of_row = static_cast<size_t>(row_begin + row);
      const size_t at = of_row * static_cast<size_t>(scale_cols_) + static_cast<size_t>(group);
      if (!two_level) {
        steps.scale[row] = rows_.scales[at];
        if (!rows_.zero_points.empty()) steps.zero[row] = static_cast<float>(rows_.zero_points[at]);
        continue;
      }
      const float step = static_cast<float>(rows_.scales2[at]);
      const float zero = static_cast<float>(rows_.zeros2[at]);
      steps.scale[row] = rows_.scales[of_row];
      steps.step[row] = step;
      steps.zero[row] = zero;
      // Level 1 is an int8. The protective range assures it of the weights the scales were made for, not
      // of what error propagation turns them into.
      steps.min[row] = std::max(0.0f, zero - std::floor(128.0f / step));
      steps.max[row] = std::min(15.0f, zero + std::floor(127.0f / step));
    }
  }

  // Codes of one column from its targets; `weights` become w - dequantized.
  void RoundColumn(int64_t row_begin, int64_t count, int64_t position, const float* targets, float* weights) {
    const int64_t column = factor_.order[static_cast<size_t>(position)];
    ColumnSteps s;
    FillSteps(row_begin, count, column * scale_cols_ / k_, s);
    alignas(64) float code[kRows];
    for (int64_t row = 0; row < kRows; ++row) {
      float q = targets[row] / (s.scale[row] * s.step[row]) + s.zero[row];
      q = q < s.min[row] ? s.min[row] : q;
      q = q > s.max[row] ? s.max[row] : q;
      q = (q + kRounder) - kRounder;
      code[row] = q;
      weights[row] -= (q - s.zero[row]) * s.step[row] * s.scale[row];
    }
    for (int64_t row = 0; row < count; ++row) {
      rows_.codes[static_cast<size_t>((row_begin + row) * k_ + column)] =
          static_cast<uint8_t>(static_cast<int8_t>(code[row]));
    }
  }

  const TargetModule& module_;
  const GptqFactor& factor_;
  const int64_t count_;
  const int64_t k_;
  QuantizedRows& rows_;
  const int64_t scale_cols_;
  // [count, k] in order of position: the module's, and where its columns are rounded.
  std::vector<float> weights_, targets_;
  std::vector<float> errors_;   // [count, kColumns] of the current block
};

// H with both axes in order of position, smoothed, dead inputs replaced, damped.
void FillHessian(const InputStatistics& input, const std::vector<float>& inverse_scale,
                 double damping, ThreadPool& pool, GptqFactor& factor) {
  const int64_t k = factor.k;
  const MatrixRef gram = input.Gram();
  auto* out = factor.unit_lower.As<float>();
  pool.ParallelFor(k, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = factor.order[static_cast<size_t>(i)];
      for (int64_t j = 0; j <= i; ++j) {
        const int64_t col = factor.order[static_cast<size_t>(j)];
        out[i * k + j] = gram.Row(row)[col] * inverse_scale[static_cast<size_t>(row)] *
                         inverse_scale[static_cast<size_t>(col)];
      }
      if (factor.dead[static_cast<size_t>(row)]) out[i * k + i] = 1.0f;
      out[i * k + i] += static_cast<float>(damping);
    }
  });
}

}  // namespace

Result<GptqFactor> FactorHessian(const InputStatistics& input, const std::vector<float>& input_scale,
                                 const GptqOptions& options, MatrixProduct& product) {
  const int64_t k = input.k;
  GptqFactor factor;
  factor.k = k;
  OCTAVO_ASSIGN_OR_RETURN(factor.unit_lower,
                          AlignedBuffer::Allocate(static_cast<size_t>(k * k) * sizeof(float)));
  std::vector<float> inverse_scale(static_cast<size_t>(k), 1.0f);
  std::vector<float> diagonal(static_cast<size_t>(k));
  factor.dead.resize(static_cast<size_t>(k));
  double mean = 0;
  for (size_t i = 0; i < diagonal.size(); ++i) {
    if (!input_scale.empty()) inverse_scale[i] = 1.0f / input_scale[i];
    diagonal[i] = input.Gram().Row(static_cast<int64_t>(i))[i] * inverse_scale[i] * inverse_scale[i];
    factor.dead[i] = diagonal[i] == 0;
    if (factor.dead[i]) diagonal[i] = 1.0f;
    mean += static_cast<double>(diagonal[i]) / static_cast<double>(k);
  }
  factor.order.resize(static_cast<size_t>(k));
  // Positions run from last to first, so the most important column comes last.
  std::iota(factor.order.rbegin(), factor.order.rend(), 0);
  if (options.act_order) {
    std::stable_sort(factor.order.begin(), factor.order.end(), [&](int32_t a, int32_t b) {
      return diagonal[static_cast<size_t>(a)] < diagonal[static_cast<size_t>(b)];
    });
  }
  for (factor.damping = options.damping; factor.damping <= 1.0; factor.damping *= 10) {
    FillHessian(input, inverse_scale, factor.damping * mean, product.pool(), factor);
    OCTAVO_ASSIGN_OR_RETURN(const bool positive,
                            FactorUnitCholesky(factor.unit_lower.As<float>(), k, product));
    if (positive) return factor;
  }
  return FailedPrecondition("the Hessian is not positive definite, even with full damping");
}

Status QuantizeGptq(const Scheme& scheme, const TargetModule& module, const GptqFactor& factor,
                    const GptqRows& block, MatrixProduct& product, QuantizedRows& rows) {
  const auto clear_dead = [&](float* x) {
    for (int64_t i = 0; i < module.k; ++i) {
      if (!factor.dead[static_cast<size_t>(i)]) continue;
      for (int64_t row = 0; row < block.count; ++row) x[row * module.k + i] = 0;
    }
  };
  clear_dead(block.x);
  if (block.clipped != nullptr) clear_dead(block.clipped);
  const float* ranges = block.clipped != nullptr ? block.clipped : block.x;
  OCTAVO_RETURN_IF_ERROR(scheme.quantize(module, ranges, block.row_begin, block.count, rows));
  return RowBlock(module, factor, block.count, rows).Run(block.x, product);
}

}  // namespace octavo
