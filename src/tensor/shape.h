// SPDX-License-Identifier: Apache-2.0
// The extents of a tensor, outermost first as in PyTorch, with overflow-checked products.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

#include "octavo/status.h"

namespace octavo {

// Up to kMaxRank dimensions, each >= 0, stored inline. Rank 0 is a scalar with one element.
class Shape {
 public:
  // Model code uses at most 4; files also carry the 5-d convolutions of vision towers.
  static constexpr int kMaxRank = 6;

  Shape() = default;
  // For literals in code: at most kMaxRank non-negative dimensions, else a CHECK fails.
  Shape(std::initializer_list<int64_t> dims);

  // For data from files: an error when the rank or a dimension is out of range, or when the
  // product of the non-zero dimensions exceeds 2^62.
  static Result<Shape> FromDims(std::span<const uint64_t> dims);

  int rank() const { return rank_; }
  // Dimension `i`, 0 = outermost. Requires 0 <= i < rank().
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }

  // Product of all dimensions; nullopt when it exceeds 2^62.
  std::optional<int64_t> CheckedNumElements() const;
  // The same for a shape that is known to fit (all from FromDims are).
  int64_t NumElements() const;

  // The tensor as a matrix: `cols` is the last dimension, `rows` the product of the others. A
  // vector [n] is n rows of one element, so that biases and norm weights can be cut like weights.
  int64_t rows() const;
  int64_t cols() const { return rank_ < 2 ? 1 : dims_[static_cast<size_t>(rank_) - 1]; }

  // "[32000, 2048]".
  std::string ToString() const;

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && a.dims_ == b.dims_;
  }

 private:
  int rank_ = 0;
  std::array<int64_t, kMaxRank> dims_{};
};

}  // namespace octavo
