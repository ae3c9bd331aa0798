// SPDX-License-Identifier: Apache-2.0
// Ranges, then rounding by the adder.
#include "quality/fake_int8.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace octavo {
namespace {

// Nearest integer, ties to even, for |v| < 2^22; a loop over it vectorizes everywhere.
float Round(float v) {
  constexpr float kMagic = 0x1.8p23f;
  return (v + kMagic) - kMagic;
}

struct Range {
  float low = 0;
  float high = 0;
  float nan = 0;  // x - x summed: NaN once a value is not finite

  void Add(const float* x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      low = std::min(low, x[i]);
      high = std::max(high, x[i]);
      nan += x[i] - x[i];
    }
  }
};

void RoundAbsmax(const Range& range, float* x, int64_t count) {
  const float absmax = std::max(-range.low, range.high);
  if (absmax == 0) return;
  const float scale = absmax / 127, inverse = 127 / absmax;
  for (int64_t i = 0; i < count; ++i) x[i] = Round(x[i] * inverse) * scale;
}

void RoundZeropoint(const Range& range, float* x, int64_t count) {
  const float scale = (range.high - range.low) / 254;
  if (scale == 0) return;
  const float inverse = 1 / scale;
  const float lowest = Round(range.low * inverse);  // the zero point is -127 - lowest
  for (int64_t i = 0; i < count; ++i) {
    x[i] = std::clamp(Round(x[i] * inverse), lowest, lowest + 254) * scale;
  }
}

void RoundTo(Int8Code code, const Range& range, float* x, int64_t count) {
  if (std::isnan(range.nan)) {
    std::fill_n(x, count, std::numeric_limits<float>::quiet_NaN());
  } else if (code == Int8Code::kAbsmax) {
    RoundAbsmax(range, x, count);
  } else {
    RoundZeropoint(range, x, count);
  }
}

}  // namespace

void FakeInt8(Int8Code code, float* x, int64_t count) {
  Range range;
  range.Add(x, count);
  RoundTo(code, range, x, count);
}

void FakeInt8Matrix(Int8Code code, bool by_row, float* x, int64_t rows, int64_t cols, int64_t stride) {
  Range all;
  for (int64_t row = 0; row < rows; ++row) {
    if (by_row) {
      FakeInt8(code, x + row * stride, cols);
    } else {
      all.Add(x + row * stride, cols);
    }
  }
  for (int64_t row = 0; row < (by_row ? 0 : rows); ++row) RoundTo(code, all, x + row * stride, cols);
}

}  // namespace octavo
