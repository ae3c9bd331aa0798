// SPDX-License-Identifier: Apache-2.0
// Orthogonal matrices that spread outliers evenly, applied in O(n log n) and double precision.
//
// Source: QuaRot, arXiv:2404.00456, section 3 (randomized Hadamard matrices); Paley, "On orthogonal
// matrices", 1933, for orders that are no power of two.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace octavo {

// Q = S (B_1 x B_2 x ... x B_f x H_2 x ... x H_2) / norm, [size, size], with Q Q^T = 1. S are fixed
// pseudo-random signs, H_2 = [1 1; 1 -1], and every B is a dense Hadamard matrix of Paley's two kinds.
// Where the size leaves an odd factor that no product of such orders covers, one B is the orthogonal
// DCT-II matrix of that order (which is no Hadamard matrix: its entries differ).
//
// Depends on nothing but the size. Immutable; Apply may be called from any thread.
class Rotation {
 public:
  // `with_signs` false: S = 1.
  explicit Rotation(int64_t size, bool with_signs = true);

  int64_t size() const { return size_; }

  // x := x Q, `x` [size] a row vector; `scratch` is resized.
  void Apply(double* x, std::vector<double>& scratch) const;

  // "H28 x H32": the factors, for reports.
  std::string Describe() const;

 private:
  struct Block {
    int64_t order = 0;
    bool hadamard = true;
    std::vector<double> values;  // [order, order]
  };
  void AddBlocks(int64_t odd);

  int64_t size_;
  int64_t power_of_two_;  // what H_2 make together
  double factor_;
  std::vector<double> signs_;  // empty: all 1
  std::vector<Block> blocks_;
};

// Paley's Hadamard matrix [order, order] of +-1: order - 1 a prime = 3 mod 4 (first kind), or
// order / 2 - 1 a prime = 1 mod 4 (second kind). Empty for other orders.
std::vector<double> PaleyHadamard(int64_t order);

}  // namespace octavo
