// SPDX-License-Identifier: Apache-2.0
// Products of large f32 matrices on the GEMM kernels, for algorithms that solve for weights.
//
// Every output is one chain of fused multiply-adds in ascending order of the reduced dimension, so
// results do not depend on the number of threads.
#pragma once

#include <cstdint>

#include "base/aligned_buffer.h"
#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "kernels/activation.h"
#include "kernels/gemm/packed_weight.h"
#include "octavo/status.h"

namespace octavo {

// A row-major f32 matrix, or a part of one.
struct MatrixRef {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements

  const float* Row(int64_t row) const { return data + row * stride; }
};

// factor * b as the right operand of a product: [n, k], the reduced dimension last. With `transposed` the
// operand is factor * b^T, so b is [k, n].
struct RightOperand {
  MatrixRef b;
  bool transposed = false;
  float factor = 1;
  ActivationFormat format = ActivationFormat::kF32;  // or kBf16: both operands are rounded to it
};

// Not thread-safe: it owns buffers and drives the pool.
class MatrixProduct {
 public:
  MatrixProduct(IsaLevel isa, ThreadPool& pool) : isa_(isa), pool_(pool) {}

  // For operands of more than one product.
  Result<PackedWeight> Pack(const RightOperand& b);

  // c = a * b^T, or c += with `accumulate`; c is [a.rows, b.n()]. `c` may be `a` itself where
  // b.n() <= b.k(): rows of a are read before rows of c are written.
  Status Multiply(const MatrixRef& a, const PackedWeight& b, float* c, int64_t c_stride,
                  bool accumulate);

  // The same with an operand that is needed once; it is read before `c` is written.
  Status Multiply(const MatrixRef& a, const RightOperand& b, float* c, int64_t c_stride, bool accumulate);

  // Memory for operands of one product, kept from one to the next: fresh pages cost more than packing.
  HugeBuffer& operand_memory() { return operand_memory_; }

  ThreadPool& pool() const { return pool_; }
  IsaLevel isa() const { return isa_; }

 private:
  IsaLevel isa_;
  ThreadPool& pool_;
  ActivationBuffer rows_;
  HugeBuffer operand_memory_;
};

}  // namespace octavo
