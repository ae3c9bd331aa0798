// SPDX-License-Identifier: Apache-2.0
// Scans over one row of logits [vocab_size]: maximum, softmax sums, selection of the largest.
//
// Rows have up to 260,000 entries and there is one per running sequence and step, so scans go by the element-wise
// kernels of the active ISA level; nothing sorts a whole row. Sums are taken in one fixed order: equal rows give
// equal bits, on all levels. NaN counts as smaller than everything.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace octavo {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct MaxLogit {
  float value = kMinusInfinity;
  int32_t index = 0;  // the lowest index of equal values
};
MaxLogit ArgMax(std::span<const float> x);

// e^x for x <= 0, relative error below 2e-7; 0 below -87 and for NaN.
float ExpNegative(float x);

// Sum of e^(x[i] - max) over the x[i] >= cut.
double SumExp(std::span<const float> x, float max, float cut = kMinusInfinity);

// Index i with sum(e^(x[j] - max), j <= i) > target for the first time; the last index of nonzero
// weight if rounding leaves none.
int32_t IndexAtWeight(std::span<const float> x, float max, double target);

// The k-th largest value, 1 <= k <= x.size().
float KthLargest(std::span<const float> x, int64_t k, std::vector<float>& scratch);

// Indices of all x[i] >= cut, ascending.
void IndicesAtLeast(std::span<const float> x, float cut, std::vector<int32_t>& indices);

// The `count` largest, ordered by (value descending, index ascending).
std::vector<int32_t> TopIndices(std::span<const float> x, int64_t count,
                                std::vector<float>& scratch);

int64_t CountGreater(std::span<const float> x, float value);

}  // namespace octavo
