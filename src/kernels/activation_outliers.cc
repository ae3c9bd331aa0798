// SPDX-License-Identifier: Apache-2.0
// Finds outliers in blocks, nearly all of which have none, by comparing magnitude bits as integers.
#include "kernels/activation_outliers.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "base/float16.h"

namespace octavo {
namespace {

constexpr int64_t kBlock = 32;
constexpr int32_t kInfinityBits = 0x7f800000;

int32_t Magnitude(float value) { return std::bit_cast<int32_t>(value) & 0x7fffffff; }

// max |x| of a block as bits; NaN is above infinity.
int32_t MaxMagnitude(const float* x, int64_t count) {
  int32_t max = 0;
  for (int64_t i = 0; i < count; ++i) max = std::max(max, Magnitude(x[i]));
  return max;
}

}  // namespace

const float* SplitOutliers(const float* x, int64_t cols, float threshold, OutlierValue* outliers,
                           int32_t& count) {
  thread_local std::vector<float> copy;
  const int32_t limit = std::bit_cast<int32_t>(threshold);
  count = 0;
  for (int64_t begin = 0; begin < cols; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, cols);
    const int32_t max = MaxMagnitude(x + begin, end - begin);
    if (max < limit) continue;
    if (max >= kInfinityBits) {
      count = 0;
      return x;
    }
    if (count == 0) copy.assign(x, x + cols);
    for (int64_t i = begin; i < end; ++i) {
      if (Magnitude(x[i]) < limit) continue;
      outliers[count++] = {static_cast<uint16_t>(i), F32ToBf16(x[i])};
      copy[static_cast<size_t>(i)] = 0;
    }
  }
  return count == 0 ? x : copy.data();
}

}  // namespace octavo
