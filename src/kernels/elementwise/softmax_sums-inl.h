// SPDX-License-Identifier: Apache-2.0
// Sums over long rows, most of them of a softmax, written once over sixteen lanes. V is an F32x16 (simd/f32x16_*.h).
#pragma once

#include <math.h>

#include <cstdint>

#include "kernels/simd/math-inl.h"

namespace octavo {

// Sixteen elements from memory, `fill` in the lanes from n (at most 16) on.
template <class V>
inline V LoadFilled(const float* x, int64_t n, float fill) {
  if (n >= 16) return V::Load(x);
  float lanes[16];
  for (int64_t i = 0; i < 16; ++i) lanes[i] = i < n ? x[i] : fill;
  return V::Load(lanes);
}

// Sum of term(i, lanes) over i = 0, 16, ... < n, where `lanes` elements exist from i on. f32 lanes are emptied
// into a double every 4096 elements.
template <class V, typename Term>
inline double BlockedSum(int64_t n, const Term& term) {
  constexpr int64_t kBlock = 4096;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = n - begin < kBlock ? n : begin + kBlock;
    V sum[4] = {V::Zero(), V::Zero(), V::Zero(), V::Zero()};
    int64_t i = begin;
    for (; i + 64 <= end; i += 64) {
      for (int j = 0; j < 4; ++j) sum[j] = sum[j] + term(i + 16 * j, int64_t{16});
    }
    for (int j = 0; i < end; i += 16, ++j) sum[j] = sum[j] + term(i, end - i);
    total += static_cast<double>(ReduceAdd((sum[0] + sum[1]) + (sum[2] + sum[3])));
  }
  return total;
}

template <class V>
double Dot(const float* x, const float* y, int64_t n) {
  return BlockedSum<V>(n, [&](int64_t i, int64_t lanes) {
    return LoadFilled<V>(x + i, lanes, 0.0f) * LoadFilled<V>(y + i, lanes, 0.0f);
  });
}

template <class V>
float RowMax(const float* x, int64_t n) {
  const V lowest = V::Set1(-INFINITY);
  V largest[4] = {lowest, lowest, lowest, lowest};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int j = 0; j < 4; ++j) largest[j] = Max(V::Load(x + i + 16 * j), largest[j]);
  }
  for (int j = 0; i < n; i += 16, ++j) largest[j] = Max(LoadFilled<V>(x + i, n - i, -INFINITY), largest[j]);
  return ReduceMax(Max(Max(largest[0], largest[1]), Max(largest[2], largest[3])));
}

template <class V>
double SumExp(const float* x, float largest, int64_t n) {
  const V shift = V::Set1(largest);
  return BlockedSum<V>(n, [&](int64_t i, int64_t lanes) {
    return Exp(LoadFilled<V>(x + i, lanes, -INFINITY) - shift);
  });
}

template <class V>
double SumExpFrom(const float* x, float largest, float cut, int64_t n) {
  const V shift = V::Set1(largest), least = V::Set1(cut), zero = V::Zero();
  return BlockedSum<V>(n, [&](int64_t i, int64_t lanes) {
    const V value = Max(LoadFilled<V>(x + i, lanes, -INFINITY), V::Set1(-INFINITY));  // the second one for NaN
    const V d = value - shift;
    return IfLess(value, least, zero, IfLess(d, V::Set1(-87.0f), zero, Exp(d)));
  });
}

template <class V>
int64_t CountGreater(const float* x, float bound, int64_t n) {
  const V limit = V::Set1(bound), one = V::Set1(1.0f), zero = V::Zero();
  const double count = BlockedSum<V>(n, [&](int64_t i, int64_t lanes) {
    return IfLess(limit, LoadFilled<V>(x + i, lanes, -INFINITY), one, zero);
  });
  return static_cast<int64_t>(count);
}

// d - 1 + e^-d without cancellation for |d| < 0.5, by its series.
template <class V>
inline V ExpExcess(V d) {
  constexpr float kSeries[] = {1.0f / 2,    -1.0f / 6,    1.0f / 24,    -1.0f / 120,
                               1.0f / 720,  -1.0f / 5040, 1.0f / 40320, -1.0f / 362880};
  return d * d * Polynomial(d, kSeries);
}

// x - log_sum, the sum in two floats so that its rounding does not reach every element.
template <class V>
class LogProbabilities {
 public:
  explicit LogProbabilities(double log_sum)
      : high_(V::Set1(static_cast<float>(log_sum))),
        low_(V::Set1(static_cast<float>(log_sum - static_cast<double>(static_cast<float>(log_sum))))) {}
  V operator()(V x) const { return (x - high_) - low_; }

 private:
  V high_, low_;
};

template <class V>
double KlDivergenceOf(const float* p, double log_sum_p, const float* q, double log_sum_q, int64_t n) {
  const LogProbabilities<V> log_p(log_sum_p), log_q(log_sum_q), ratio(log_sum_p - log_sum_q);
  const V one = V::Set1(1.0f), lowest = V::Set1(-87.0f);
  return BlockedSum<V>(n, [&](int64_t i, int64_t lanes) {
    const V a = LoadFilled<V>(p + i, lanes, -INFINITY), b = LoadFilled<V>(q + i, lanes, -INFINITY);
    const V log_probability = log_p(a), log_other = log_q(b);
    const V probability = Exp(log_probability);
    const V other = IfLess(log_other, lowest, V::Zero(), Exp(log_other));
    const V d = ratio(a - b);
    const V near = probability * ExpExcess(d);
    const V far = Fma(probability, d - one, other);
    const V term = IfLess(Abs(d), V::Set1(0.5f), near, far);
    return IfLess(log_probability, lowest, other, term);
  });
}

}  // namespace octavo
