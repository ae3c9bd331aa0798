// SPDX-License-Identifier: Apache-2.0
// Row scans in blocks of fixed width.
#include "engine/logit_ops.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>

namespace octavo {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kBlock = 256;  // floats between two flushes of the lane sums into a double

// e^x - the polynomial part shared by scalar and lane code. Branch-free so that it vectorizes:
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

// Sum of the weights of one block of at most kBlock values.
double BlockSum(const float* x, size_t count, float max, float cut) {
  float lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      const float weight = ExpCore(value - max);
      lanes[lane] += value >= cut ? weight : 0.0f;
    }
  }
  for (; i < count; ++i) lanes[i % kLanes] += x[i] >= cut ? ExpCore(x[i] - max) : 0.0f;
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

float BlockMax(const float* x, size_t count) {
  float lanes[kLanes];
  std::fill(std::begin(lanes), std::end(lanes), kMinusInfinity);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];
    }
  }
  for (; i < count; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  return *std::max_element(std::begin(lanes), std::end(lanes));
}

}  // namespace

float ExpNegative(float x) { return ExpCore(x); }

MaxLogit ArgMax(std::span<const float> x) {
  MaxLogit best;
  size_t best_block = 0;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const float value = BlockMax(x.data() + begin, std::min(kBlock, x.size() - begin));
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
  double sum = 0;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    sum += BlockSum(x.data() + begin, std::min(kBlock, x.size() - begin), max, cut);
  }
  return sum;
}

int32_t IndexAtWeight(std::span<const float> x, float max, double target) {
  double sum = 0;
  size_t last_nonzero = 0;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, x.size() - begin);
    const double block = BlockSum(x.data() + begin, count, max, kMinusInfinity);
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
  constexpr size_t kSmallBlock = 32;
  const auto rank = static_cast<ptrdiff_t>(k - 1);
  scratch.clear();
  for (size_t begin = 0; begin < x.size(); begin += kSmallBlock) {
    scratch.push_back(BlockMax(x.data() + begin, std::min(kSmallBlock, x.size() - begin)));
  }
  float bound = kMinusInfinity;
  if (rank < static_cast<ptrdiff_t>(scratch.size())) {
    std::nth_element(scratch.begin(), scratch.begin() + rank, scratch.end(), std::greater<>());
    bound = scratch[static_cast<size_t>(rank)];
  }
  scratch.clear();
  for (const float value : x) {
    if (value >= bound) scratch.push_back(value);
  }
  if (rank >= static_cast<ptrdiff_t>(scratch.size())) return kMinusInfinity;  // the rest are NaN
  std::nth_element(scratch.begin(), scratch.begin() + rank, scratch.end(), std::greater<>());
  return scratch[static_cast<size_t>(rank)];
}

void IndicesAtLeast(std::span<const float> x, float cut, std::vector<int32_t>& indices) {
  indices.clear();
  for (size_t begin = 0; begin < x.size(); begin += kLanes) {
    const size_t end = std::min(begin + kLanes, x.size());
    if (!(BlockMax(x.data() + begin, end - begin) >= cut)) continue;
    for (size_t i = begin; i < end; ++i) {
      if (x[i] >= cut) indices.push_back(static_cast<int32_t>(i));
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
  int64_t total = 0;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, x.size());
    int32_t count = 0;
    for (size_t i = begin; i < end; ++i) count += x[i] > value ? 1 : 0;
    total += count;
  }
  return total;
}

}  // namespace octavo
