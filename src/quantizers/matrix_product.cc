// SPDX-License-Identifier: Apache-2.0
// Packs one operand, copies blocks of rows of the other into the kernels' layout.
#include "quantizers/matrix_product.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace octavo {
namespace {

constexpr int64_t kBlockRows = 512;

// Rows of the operand for the packer.
WeightPart PartOf(const RightOperand& operand) {
  const MatrixRef& b = operand.b;
  WeightSpec spec;
  spec.code = CodeType::kF32;
  spec.bits = 32;
  spec.n = operand.transposed ? b.cols : b.rows;
  spec.k = operand.transposed ? b.rows : b.cols;
  const auto rows = [&operand, k = spec.k](int64_t begin, int64_t count, WeightRows& to) {
    auto* out = reinterpret_cast<float*>(to.codes.data());
    // Columns are gathered for all rows of a panel at once: `count` neighbours share a cache line.
    for (int64_t i = 0; operand.transposed && i < k; ++i) {
      const float* from = operand.b.Row(i) + begin;
      for (int64_t row = 0; row < count; ++row) out[row * k + i] = operand.factor * from[row];
    }
    for (int64_t row = 0; !operand.transposed && row < count; ++row) {
      const float* from = operand.b.Row(begin + row);
      for (int64_t i = 0; i < k; ++i) out[row * k + i] = operand.factor * from[i];
    }
    return Status::Ok();
  };
  return {.spec = spec, .format = ActivationFormat::kF32, .rows = rows};
}

}  // namespace

Result<PackedWeight> MatrixProduct::Pack(const RightOperand& b) {
  return PackedWeight::Pack({PartOf(b)}, isa_, pool_);
}

Status MatrixProduct::Multiply(const MatrixRef& a, const RightOperand& b, float* c, int64_t c_stride,
                               bool accumulate) {
  OCTAVO_ASSIGN_OR_RETURN(PackedWeight packed,
                          PackedWeight::Pack({PartOf(b)}, isa_, pool_, std::move(operand_memory_)));
  const Status status = Multiply(a, packed, c, c_stride, accumulate);
  operand_memory_ = std::move(packed).TakeMemory();
  return status;
}

Status MatrixProduct::Multiply(const MatrixRef& a, const PackedWeight& b, float* c,
                               int64_t c_stride, bool accumulate) {
  constexpr ActivationSpec kSpec{ActivationFormat::kF32, 0};
  OCTAVO_RETURN_IF_ERROR(rows_.Reserve(kSpec, std::min(kBlockRows, a.rows), a.cols));
  for (int64_t begin = 0; begin < a.rows; begin += kBlockRows) {
    const int64_t count = std::min(kBlockRows, a.rows - begin);
    rows_.SetRows(count);
    pool_.ParallelFor(count, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t row = first; row < last; ++row) rows_.EncodeRow(row, a.Row(begin + row));
    });
    b.Multiply(rows_.view(),
               {.out = c + begin * c_stride,
                .row_stride = c_stride,
                .bias = nullptr,
                .accumulate = accumulate},
               pool_);
  }
  return Status::Ok();
}

}  // namespace octavo
