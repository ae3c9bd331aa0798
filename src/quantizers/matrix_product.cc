// SPDX-License-Identifier: Apache-2.0
// Packs one operand, copies blocks of rows of the other into the kernels' layout.
#include "quantizers/matrix_product.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/float16.h"

namespace octavo {
namespace {

constexpr int64_t kBlockRows = 512;

// Rows [begin, begin + count) of the operand as `Out` codes.
template <typename Out, typename Code>
void CopyRows(const RightOperand& operand, int64_t begin, int64_t count, Out* out, const Code& code) {
  const int64_t k = operand.transposed ? operand.b.rows : operand.b.cols;
  // Columns are gathered for all rows of a panel at once: `count` neighbours share a cache line.
  for (int64_t i = 0; operand.transposed && i < k; ++i) {
    const float* from = operand.b.Row(i) + begin;
    for (int64_t row = 0; row < count; ++row) out[row * k + i] = code(operand.factor * from[row]);
  }
  for (int64_t row = 0; !operand.transposed && row < count; ++row) {
    const float* from = operand.b.Row(begin + row);
    for (int64_t i = 0; i < k; ++i) out[row * k + i] = code(operand.factor * from[i]);
  }
}

// The operand for the packer.
WeightPart PartOf(const RightOperand& operand) {
  const MatrixRef& b = operand.b;
  const bool bf16 = operand.format == ActivationFormat::kBf16;
  WeightSpec spec;
  spec.code = bf16 ? CodeType::kBf16 : CodeType::kF32;
  spec.bits = bf16 ? 16 : 32;
  spec.n = operand.transposed ? b.cols : b.rows;
  spec.k = operand.transposed ? b.rows : b.cols;
  const auto rows = [&operand, bf16](int64_t begin, int64_t count, WeightRows& to) {
    if (bf16) {
      CopyRows(operand, begin, count, reinterpret_cast<uint16_t*>(to.codes.data()), F32ToBf16);
    } else {
      CopyRows(operand, begin, count, reinterpret_cast<float*>(to.codes.data()), [](float x) { return x; });
    }
    return Status::Ok();
  };
  return {.spec = spec, .format = operand.format, .rows = rows};
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
  const ActivationSpec& spec = b.activations().front();
  OCTAVO_RETURN_IF_ERROR(rows_.Reserve(spec, std::min(kBlockRows, a.rows), a.cols));
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
