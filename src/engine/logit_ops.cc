// SPDX-License-Identifier: Apache-2.0
// Row scans in blocks of fixed width.
#include "engine/logit_ops.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "kernels/elementwise/elementwise.h"

namespace octavo {
namespace {

constexpr size_t kBlock = 4096;
constexpr size_t kSmallBlock = 128;

std::span<const float> SmallBlock(std::span<const float> x, size_t begin) {
  return x.subspan(begin, std::min(kSmallBlock, x.size() - begin));
}

// x = n ln2 + r, e^r by a degree-6 polynomial, 2^n by exponent arithmetic.
inline float ExpCore(float x) {
  constexpr float kLog2e = 1.44269504088896341f;
  constexpr float kLn2Hi = 0.693359375f;
  constexpr float kLn2Lo = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x > -87.0f ? x : -87.0f;
  const float shifted = clamped * kLog2e + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2Hi) - n * kLn2Lo;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) + 127u) << 23;
  const float result = p * std::bit_cast<float>(exponent);
  return x > -87.0f ? result : 0.0f;
}

float MaxOf(std::span<const float> x) { return ActiveElementwiseOps().max(x.data(), std::ssize(x)); }

}  // namespace

float ExpNegative(float x) { return ExpCore(x); }

MaxLogit ArgMax(std::span<const float> x) {
  MaxLogit best;
  size_t best_block = 0;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const float value = MaxOf(x.subspan(begin, std::min(kBlock, x.size() - begin)));
    if (value > best.value) {
      best.value = value;
      best_block = begin;
    }
  }
  const auto block = x.subspan(best_block, std::min(kBlock, x.size() - best_block));
  const auto it = std::find(block.begin(), block.end(), best.value);
  if (it != block.end()) best.index = static_cast<int32_t>(best_block + (it - block.begin()));
  return best;
}

double SumExp(std::span<const float> x, float max, float cut) {
  return ActiveElementwiseOps().sum_exp_from(x.data(), max, cut, std::ssize(x));
}

int32_t IndexAtWeight(std::span<const float> x, float max, double target) {
  double sum = 0;
  size_t last_nonzero = 0;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, x.size() - begin);
    const double block = SumExp(x.subspan(begin, count), max);
    if (sum + block <= target) {
      if (block > 0) last_nonzero = begin;
      sum += block;
      continue;
    }
    for (size_t i = begin; i < begin + count; ++i) {
      const auto weight = static_cast<double>(ExpCore(x[i] - max));
      if (weight > 0) last_nonzero = i;
      sum += weight;
      if (sum > target) return static_cast<int32_t>(i);
    }
    return static_cast<int32_t>(last_nonzero);  // lane and serial sums differ in the last bits
  }
  size_t i = std::min(last_nonzero + kBlock, x.size()) - 1;
  while (i > last_nonzero && !(ExpCore(x[i] - max) > 0)) --i;
  return static_cast<int32_t>(i);
}

// At least k values are >= the k-th largest block maximum, and few more: selecting among those is
// cheap whatever the row's length.
float KthLargest(std::span<const float> x, int64_t k, std::vector<float>& scratch) {
  const auto rank = static_cast<ptrdiff_t>(k - 1);
  scratch.clear();
  for (size_t begin = 0; begin < x.size(); begin += kSmallBlock) scratch.push_back(MaxOf(SmallBlock(x, begin)));
  const size_t blocks = scratch.size();
  float bound = kMinusInfinity;
  if (rank < static_cast<ptrdiff_t>(blocks)) {
    scratch.resize(2 * blocks);
    const auto copy = scratch.begin() + static_cast<ptrdiff_t>(blocks);
    std::copy(scratch.begin(), copy, copy);
    std::nth_element(copy, copy + rank, scratch.end(), std::greater<>());
    bound = copy[rank];
    scratch.resize(blocks);
  }
  for (size_t block = 0; block < blocks; ++block) {
    if (!(scratch[block] >= bound)) continue;
    for (const float value : SmallBlock(x, block * kSmallBlock)) {
      if (value >= bound) scratch.push_back(value);
    }
  }
  const auto first = scratch.begin() + static_cast<ptrdiff_t>(blocks);
  if (rank >= scratch.end() - first) return kMinusInfinity;  // the rest are NaN
  std::nth_element(first, first + rank, scratch.end(), std::greater<>());
  return first[rank];
}

void IndicesAtLeast(std::span<const float> x, float cut, std::vector<int32_t>& indices) {
  indices.clear();
  for (size_t begin = 0; begin < x.size(); begin += kSmallBlock) {
    const std::span<const float> block = SmallBlock(x, begin);
    if (!(MaxOf(block) >= cut)) continue;
    for (size_t i = 0; i < block.size(); ++i) {
      if (block[i] >= cut) indices.push_back(static_cast<int32_t>(begin + i));
    }
  }
}

std::vector<int32_t> TopIndices(std::span<const float> x, int64_t count,
                                std::vector<float>& scratch) {
  count = std::min<int64_t>(count, static_cast<int64_t>(x.size()));
  std::vector<int32_t> indices;
  if (count <= 0) return indices;
  IndicesAtLeast(x, KthLargest(x, count, scratch), indices);
  std::sort(indices.begin(), indices.end(), [x](int32_t a, int32_t b) {
    const float va = x[static_cast<size_t>(a)];
    const float vb = x[static_cast<size_t>(b)];
    return va != vb ? va > vb : a < b;
  });
  if (static_cast<int64_t>(indices.size()) > count) indices.resize(static_cast<size_t>(count));
  return indices;
}

int64_t CountGreater(std::span<const float> x, float value) {
  return ActiveElementwiseOps().count_greater(x.data(), value, std::ssize(x));
}

}  // namespace octavo
